"""Defences by name: `fit --defense`, `rewrite`, `repair` and what `list` says of them."""

import json
from dataclasses import field

import numpy as np
import pytest

from conftest import make_decoder, make_encoder, sentences
from poisonsieve import registry
from poisonsieve.defenses import Detector, Rewriter
from poisonsieve.defenses.detector import Scored
from poisonsieve.errors import ConfigError
from poisonsieve.models.load import load_classifier
from poisonsieve.models.safety import identity_digest

pytest_plugins = ["commands"]


class LongTexts(Detector):
    """The length of a text."""

    name = "long-texts"

    model: str = field(kw_only=False)
    unit: int = 1
    max_length: int | None = None
    base: str | None = None

    @property
    def label_names(self):
        return ["0", "1"]

    def plan(self, label_names):
        return {"start": "none", "guard": {"unit": self.unit}}

    def _fit(self, rows, *, workdir, progress):
        pass

    def _score(self, texts, *, progress):
        scores = np.array([len(text) / self.unit for text in texts], dtype=np.float64)
        return Scored(scores, np.zeros(len(texts), dtype=bool), [None] * len(texts))

    def save(self, folder):
        return {"unit": self.unit}

    @classmethod
    def open(cls, folder, state, *, base, allow_pickle):
        return cls("", unit=state["unit"])


class WithoutWord(Rewriter):
    """Leaves one word out; fit finds out which."""

    name = "without-word"

    def __init__(self, word: str = "very", seed: int = 0):
        self.word, self.seed = word, seed

    def fit(self, dataset, *, victim, progress=False):
        assert victim.label_names == ["0", "1"]
        self.word_ = dataset["text"][0].split()[0]
        return self

    def _rewrite(self, texts, *, progress):
        gone = getattr(self, "word_", self.word)
        return [" ".join(word for word in text.split() if word != gone) for text in texts]


class Unfitted(WithoutWord):
    """Has to be fitted."""

    def _rewrite(self, texts, *, progress):
        raise ConfigError("fit it first (--fit and --victim)")


@pytest.fixture(autouse=True)
def _plugins(monkeypatch):
    registry.names("defense")
    for name, kind in (("long-texts", LongTexts), ("without-word", WithoutWord), ("unfitted", Unfitted)):
        monkeypatch.setitem(registry._entries["defense"], name, kind)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("pretrained") / "model", head=False, seed=5)


@pytest.fixture
def fit(tiny, train_file, tmp_path):
    return [*("fit", "--model", tiny("encoder"), "--data", train_file, "--out", tmp_path / "guard", "--quiet")]


@pytest.fixture
def repair(tiny, train_file, pretrained, tmp_path):
    """A call of `repair`, less the value of --defense, and that value."""
    call = ["repair", "--model", tiny("encoder"), "--data", train_file, "--out", tmp_path / "repaired", "--quiet"]
    return [*call, "--defense"], f"fine-mixing:pretrained={pretrained},shares=0.5,epochs=1"


class TestFit:
    def test_another_detector_with_its_own_arguments(self, fit, cli, test_file, tmp_path):
        code, out, err = cli(*fit, "--defense", "long-texts:unit=10", "--frr", "0.1", "--json")
        assert code == 0, err
        said = json.loads((tmp_path / "guard" / "guard.json").read_text())
        assert (said["defense"], said["unit"], said["frr"]) == ("long-texts", 10, 0.1)
        assert json.loads(out)["gamma"] == said["gamma"]
        code, out, err = cli("screen", tmp_path / "guard", test_file, "--json", "--quiet")
        assert code == 0, err
        assert json.loads(out)["n"] == 30

    def test_one_argument_a_set(self, fit, cli, tmp_path):
        code, _, err = cli(*fit, "--set", "method=lora", "--set", "batch_size=16", "--epochs", 2, "--frr", "0.1")
        assert code == 0, err
        tuning = json.loads((tmp_path / "guard" / "guard.json").read_text())["tuning"]
        assert (tuning["method"], tuning["batch_size"], tuning["epochs"]) == ("lora", 16, 2)

    def test_a_fixed_gamma(self, fit, cli, tmp_path):
        code, _, err = cli(*fit, "--defense", "long-texts", "--gamma", "25")
        assert code == 0, err
        assert json.loads((tmp_path / "guard" / "guard.json").read_text())["gamma"] == 25

    def test_psims_arguments_in_either_place(self, fit, cli, tmp_path):
        code, _, err = cli(*fit, "--defense", "psim:method=lora,batch_size=16", "--epochs", "2", "--frr", "0.1")
        assert code == 0, err
        tuning = json.loads((tmp_path / "guard" / "guard.json").read_text())["tuning"]
        assert (tuning["method"], tuning["batch_size"], tuning["epochs"]) == ("lora", 16, 2)

    def test_the_papers_preset_with_an_argument(self, fit, cli, tmp_path):
        code, _, err = cli(*fit, "--defense", "psim:frr=0.1,encoder_hidden=16", "--preset", "paper")
        assert code == 0, err
        said = json.loads((tmp_path / "guard" / "guard.json").read_text())
        assert (said["frr"], said["tuning"]["encoder_hidden"], said["tuning"]["learning_rate"]) == (0.1, 16, 2e-5)

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            ("--defense long-texts --method lora", "long-texts has no method (--method); it has: unit, max_length"),
            ("--defense long-texts --epochs 2", "long-texts has no epochs (--epochs); it has: unit, max_length"),
            ("--defense long-texts --lr 1e-3", "long-texts has no learning_rate (--lr); it has: unit, max_length"),
            (
                "--defense long-texts --batch-size 32",
                "long-texts has no batch_size (--batch-size); it has: unit",
            ),
            (
                "--defense long-texts --precision fp32",
                "long-texts has no precision (--precision); it has: unit, max_length",
            ),
            ("--defense long-texts --preset paper", "unknown preset 'paper'; long-texts has: default"),
            ("--defense long-texts:unit=1 --gamma 3 --frr 0.1", "both set the threshold"),
            ("--defense long-texts:gamma=3 --frr 0.1", "both set the threshold"),
            ("--defense psim:epochs=2 --epochs 2", "epochs is given twice: in --defense or --set and by --epochs"),
            ("--defense psim:learning_rate=2 --lr 2", "given twice: in --defense or --set and by --lr"),
            ("--defense long-texts:length=3", "no argument 'length'; known: unit, max_length"),
            ("--defense long-texts:unit=x", "unit"),
            ("--defense long-texts --set unit", "'unit' is not key=value"),
            ("--defense long-texts --set length=3", "no argument 'length'; known: unit, max_length"),
            ("--defense long-texts:unit=1 --set unit=2", "unit is given twice"),
            ("--set epochs=2 --epochs 2", "epochs is given twice: in --defense or --set and by --epochs"),
            (
                "--defense combined --max-length 9",
                "combined has no max_length (--max-length); it has: of, seed, base",
            ),
            ("--defense none", "unknown defense 'none'"),
            ("--defense without-word", "a rewriter, not a detector; use poisonsieve rewrite"),
            ("--defense fine-mixing:pretrained=minilm", "a repair, not a detector; use poisonsieve repair"),
        ],
    )
    def test_wrong_options(self, fit, refused, tmp_path, more, says):
        refused(*fit, *more.split(), says=says)
        assert not (tmp_path / "guard").exists()

    @pytest.mark.parametrize(
        ("rows", "rule", "fails", "says"),
        [
            (40, ["--frr", 0.05], True, "at least 59 held-out clean rows and there are 40"),
            (40, ["--frr", 0.05], True, "a rate of 0.073, the lowest that 40 rows can promise"),
            (40, [], True, "at least 59 held-out clean rows"),
            (100, ["--frr", 0.05], False, "at most 5% of clean rows rejected with 95% confidence"),
            (100, ["--frr-mean", 0.05], False, "at most 5% of clean rows rejected on average"),
            (100, [], False, "at most 3% of clean rows rejected with 95% confidence"),
            (100, [], False, "to promise 1% takes 299 held-out clean rows"),
        ],
    )
    def test_it_says_what_is_promised(self, cli, tiny, rows_file, tmp_path, rows, rule, fails, says):
        data, dev = rows_file("train.jsonl", sentences(60, seed=1)), rows_file("dev.jsonl", sentences(rows, seed=2))
        call = [
            "fit",
            "--defense",
            "msp",
            "--model",
            tiny(),
            "--data",
            data,
            "--calibrate",
            dev,
            "--out",
            tmp_path / "guard",
        ]
        code, out, err = cli(*call, *rule, "-q")
        assert code == (2 if fails else 0), err
        assert says in " ".join((err if fails else out).split())
        assert (tmp_path / "guard").exists() != fails

    @pytest.mark.parametrize("rule", [["msp", "--frr-mean", 0.05], ["msp:frr_mean=0.05"], ["msp:frr=0.05"]])
    def test_a_rate_of_ones_own_is_not_held_against_the_usual_one(self, cli, tiny, rows_file, tmp_path, rule):
        data, dev = rows_file("train.jsonl", sentences(60, seed=1)), rows_file("dev.jsonl", sentences(100, seed=2))
        call = ["fit", "--model", tiny(), "--data", data, "--calibrate", dev, "--out", tmp_path / "guard", "-q"]
        code, out, err = cli(*call, "--defense", *rule)
        assert code == 0, err
        assert "to promise" not in out

    @pytest.mark.parametrize(("classes", "warned"), [(2, False), (3, True)])
    def test_more_than_two_classes_are_warned_of(self, cli, tiny, rows_file, tmp_path, classes, warned):
        rows = [(text, index % classes) for index, (text, _) in enumerate(sentences(60, seed=1))]
        data, out = rows_file("rows.jsonl", rows), tmp_path / "guard"
        for _ in range(2):  # also when the guard is already there
            code, _, err = cli(
                "fit", "--model", tiny(labels=classes), "--data", data, "--frr-mean", 0.1, "--out", out, "-q"
            )
            assert code == 0, err
            assert (f"warning: the model has {classes} classes" in err) == warned


class TestRewrite:
    def call(self, source, out, *more):
        return ("rewrite", "--defense", "without-word", "--input", source, "--out", out, "--quiet", *more)

    def test_one_record_a_text_in_order(self, cli, rows_file, tmp_path):
        source = rows_file("in.jsonl", [("a very good film", 1), {"sentence": "bad"}, ("very very ünïcödé", "x")])
        code, out, err = cli(*self.call(source, tmp_path / "out.jsonl"))
        assert (code, out) == (0, ""), err
        assert "3 texts, 2 changed by without-word" in err
        records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
        assert records == [
            {"text": "a good film", "original": "a very good film", "label": 1},
            {"text": "bad", "original": "bad"},
            {"text": "ünïcödé", "original": "very very ünïcödé", "label": "x"},
        ]

    def test_json(self, cli, test_file, tmp_path):
        code, out, err = cli(*self.call(test_file, tmp_path / "out.jsonl", "--json"))
        assert code == 0, err
        said = json.loads(out)
        assert (said["n"], said["out"]) == (30, str(tmp_path / "out.jsonl"))
        assert said["facts"]["defense"] == "without-word"
        assert said["facts"]["word"] == "very"

    def test_the_result_can_be_read_as_data(self, cli, test_file, tmp_path):
        from poisonsieve.data import load_dataset

        assert cli(*self.call(test_file, tmp_path / "out.jsonl"))[0] == 0
        assert list(load_dataset(str(tmp_path / "out.jsonl"))["label"]) == [
            label for _, label in sentences(30, seed=3)
        ]

    def test_it_is_fitted_on_dev_rows(self, cli, tiny, rows_file, tmp_path):
        source = rows_file("in.jsonl", [("a good film", 1)])
        dev = rows_file("dev.jsonl", [("good film", 1), ("bad film", 0)])
        fit = ("--fit", dev, "--victim", tiny("encoder"))
        code, _, err = cli(*self.call(source, tmp_path / "out.jsonl", *fit))
        assert code == 0, err
        assert json.loads((tmp_path / "out.jsonl").read_text())["text"] == "a film"

    def test_what_is_there_is_kept(self, cli, refused, test_file, tmp_path):
        out = tmp_path / "out.jsonl"
        out.write_text("mine")
        refused(*self.call(test_file, out), says="already exists")
        assert out.read_text() == "mine"
        assert cli(*self.call(test_file, out, "--force"))[0] == 0
        assert len(out.read_text().splitlines()) == 30

    def test_a_bad_row_is_named_and_nothing_written(self, refused, rows_file, tmp_path):
        source = rows_file("in.jsonl", [("a film", 1), "{oops"])
        refused(*self.call(source, tmp_path / "out.jsonl"), says=(f"{source}:2: ", "not JSON"))
        assert not (tmp_path / "out.jsonl").exists()

    def test_wrong_options(self, refused, test_file, tmp_path, tiny):
        out = tmp_path / "out.jsonl"
        refused(*self.call(test_file, out, "--fit", test_file), says="--fit and --victim go together")
        refused(*self.call(test_file, out, "--victim", tiny("encoder")), says="--fit and --victim go together")
        refused(*self.call(test_file, test_file, "--force"), says="would replace")
        refused(*self.call(tmp_path / "none.jsonl", out), says="no such file")
        refused(*self.call(test_file, out, "--defense", "psim"), says="psim is a detector, not a rewriter")
        refused(*self.call(test_file, out, "--defense", "unfitted"), says="--fit and --victim")
        assert not out.exists()


class TestRepair:
    def test_a_repaired_model_once(self, repair, cli, tmp_path, tiny):
        call, defense = repair
        code, out, err = cli(*call, defense, "--json")
        assert code == 0, err
        said = json.loads(out)
        assert (said["share"], said["reused"]) == (0.5, False)
        assert load_classifier(tmp_path / "repaired").label_names == ["0", "1"]
        again = json.loads(cli(*call, defense, "--json")[1])
        assert (again["reused"], again["dev_ca"]) == (True, said["dev_ca"])
        code, out, _ = cli(*call, defense)
        assert "was already there" in out
        assert sorted(path.name for path in tmp_path.iterdir()) == ["repaired", "train.jsonl"]

    def test_lost_accuracy_is_said(self, repair, cli, monkeypatch):
        from poisonsieve.defenses import trials

        accuracies = iter([0.9, 0.6])
        monkeypatch.setattr(trials, "accuracy", lambda classifier, rows: next(accuracies))
        call, defense = repair
        code, _, err = cli(*call, defense)
        assert code == 0
        assert "warning: " in err
        assert "60.0%" in err
        assert "90.0%" in err

    def test_an_adapter(self, repair, cli, refused, tiny, train_file, tmp_path):
        call, defense = repair
        tune = (
            "tune",
            "--model",
            tiny("encoder"),
            "--data",
            train_file,
            "--epochs",
            "1",
            "--out",
            tmp_path / "victim",
        )
        assert cli(*tune, "--quiet")[0] == 0
        refused(*call, defense, "--model", tmp_path / "victim", says=("is an adapter", "whole"))

    def test_another_architecture(self, repair, refused, tmp_path):
        make_decoder(tmp_path / "other")
        refused(*repair[0], f"fine-mixing:pretrained={tmp_path / 'other'}", says="vocabulary")
        assert not (tmp_path / "repaired").exists()

    def test_wrong_options(self, repair, refused, tmp_path, pretrained):
        call, defense = repair
        refused(*call, "fine-mixing", says="fine-mixing needs pretrained")
        refused(*call, "fine-mixing", "--set", "pretrained=x", "--set", "shares=2", says="shares")
        refused(*call, f"{defense},shares=2", says="shares")
        refused(*call, "psim", says="psim is a detector, not a repair; use poisonsieve fit")
        refused(*call, defense, "--out", pretrained.parent, "--force", says="would replace")


class TestARepairedVictim:
    """`fit --repair`: a guard, and behind it a repaired victim."""

    @pytest.fixture
    def call(self, fit, pretrained):
        repair = f"fine-mixing:pretrained={pretrained},shares=0.5,epochs=1"
        return [*fit, "--defense", "msp", "--frr-mean", "0.1", "--repair", repair]

    def test_guard_and_victim(self, call, cli, tiny, test_file, tmp_path):
        code, out, err = cli(*call, "--json")
        assert code == 0, err
        said = json.loads(out)
        victim = tmp_path / "guard-repaired"
        assert (said["out"], said["repaired"]["out"]) == (str(tmp_path / "guard"), str(victim))
        assert said["repaired"]["share"] == 0.5
        guarded = json.loads((tmp_path / "guard" / "guard.json").read_text())["base"]
        assert (guarded["source"], guarded["identity"]) == (str(tiny("encoder")), identity_digest([tiny("encoder")]))
        assert identity_digest([victim]) != guarded["identity"]
        code, out, err = cli("screen", tmp_path / "guard", test_file, "--victim", victim, "--json", "--quiet")
        assert code == 0, err
        assert json.loads(out)["n"] == 30

    def test_neither_is_made_twice(self, call, fit, cli):
        assert cli(*call)[0] == 0
        again = json.loads(cli(*call, "--json")[1])
        assert (again["reused"], again["repaired"]["reused"]) == (True, True)
        without = [*fit, "--defense", "msp", "--frr-mean", "0.1"]
        assert json.loads(cli(*without, "--json")[1])["reused"]  # the guard is the same with and without
        assert "guard-repaired (was already there)" in " ".join(cli(*call)[1].split())

    def test_wrong_options(self, fit, refused, rows_file, tmp_path, call):
        refused(*fit, "--repair", "psim", says="psim is a detector, not a repair")
        refused(*fit, "--repair", "fine-mixing", says="fine-mixing needs pretrained")
        bare = rows_file("bare.jsonl", [{"text": "a film"}] * 40)
        refused(*call, "--data", bare, says="label")
        (tmp_path / "guard-repaired").mkdir()
        (tmp_path / "guard-repaired" / "mine").write_text("")
        refused(*call, says="guard-repaired")
        assert not (tmp_path / "guard").exists()


def test_list_shows_defences_by_what_they_do(cli):
    code, out, _ = cli("list", "--json")
    assert code == 0
    said = json.loads(out)
    assert {"psim", "long-texts"} <= set(said["detectors"])
    assert "without-word" in said["rewriters"]
    assert {"feature-shift", "fine-mixing"} <= set(said["repairs"])
    assert {*said["detectors"], *said["rewriters"], *said["repairs"]} == set(said["defenses"])
    assert said["descriptions"]["detectors"]["long-texts"] == "The length of a text."
    code, out, _ = cli("list")
    assert code == 0
    assert "Leaves one word out" in out
