"""ONION: suspicions are a plain loop's, the bar is the lowest that clean rows allow, and nothing else is removed."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.base import clone

from conftest import dataset, sentences
from poisonsieve.config import TuneSpec
from poisonsieve.defenses import ONION
from poisonsieve.defenses.onion import candidate_bars, without
from poisonsieve.errors import CheckpointError, ConfigError, DataError
from poisonsieve.models.load import load_classifier
from poisonsieve.tuning import finetune
from tiny_lm import KINDS, make_lm

TEXTS = [text for text, _ in sentences(10, seed=4)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: make_lm(tmp_path_factory.mktemp(kind), kind=kind) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def folder(request, folders):
    return folders[request.param]


@pytest.fixture(scope="module")
def onion(folder):
    return ONION(folder, bar=0.0)


@pytest.fixture(scope="module")
def victim(tiny, toy_train):
    classifier = load_classifier(tiny("encoder"))
    finetune(classifier, toy_train, TuneSpec(method="full", epochs=12, learning_rate=5e-3, precision="fp32"))
    return classifier


def perplexities(folder, texts):
    """One forward pass a text, with labels, alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    found = []
    for text in texts:
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        with torch.no_grad():
            found.append(math.exp(network(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss))
    return np.array(found)


def assert_equal(found, expected, folder, texts):
    """Equal in fp32: to 1e-5 of the perplexities that they are the differences of."""
    for text, mine, other in zip(texts, found, expected, strict=True):
        whole = perplexities(folder, [text])[0]
        size = np.maximum(whole, whole - other)
        np.testing.assert_allclose(mine / size, other / size, atol=1e-5, rtol=0)


def shortened(text):
    words = text.split()
    return [" ".join(words[:index] + words[index + 1 :]) for index in range(len(words))]


def test_suspicions_are_those_of_a_plain_loop(folder, onion):
    for text, found in zip(TEXTS, onion.suspicions(TEXTS), strict=True):
        whole, *others = perplexities(folder, [text, *shortened(text)])
        assert found.dtype == np.float64
        assert found.shape == (len(text.split()),)
        np.testing.assert_allclose(whole - found, others, rtol=1e-4)


def test_taking_a_word_out_changes_the_tokens_beside_it(folders):
    """Else the test above would not have shown that every shortened text is really tokenized."""
    lm = ONION(folders["gpt2"])._lm
    inside, first = lm.encode(["bad movie"])[0], lm.encode(["movie"])[0]
    assert inside[-len(first) + 1 :] != first[1:]


def test_company_and_order_do_not_matter(folder, onion):
    expected = onion.suspicions(TEXTS)
    assert_equal(onion.suspicions(TEXTS[::-1])[::-1], expected, folder, TEXTS)
    assert_equal([onion.suspicions([text])[0] for text in TEXTS], expected, folder, TEXTS)
    twice = onion.suspicions([*TEXTS, *TEXTS])
    np.testing.assert_array_equal(np.concatenate(twice[:10]), np.concatenate(twice[10:]))


def test_white_space_is_no_word(onion):
    plain, spaced = onion.suspicions(["the film was good", "  the\tfilm  was\ngood "])
    np.testing.assert_array_equal(plain, spaced)


@pytest.mark.parametrize(("text", "words"), [("", 0), ("   ", 0), ("good", 1), (" good ", 1)])
def test_empty_and_one_word_texts_stay(onion, text, words):
    (found,) = onion.suspicions([text])
    assert found.shape == (words,)
    assert np.isnan(found).all()
    assert onion.rewrite([text, TEXTS[0]])[0] == text


def test_no_unicode_stays(onion):
    assert onion.rewrite(["the \ud800 film"]) == ["the \ud800 film"]


def test_words_at_the_bar_and_above_go(folder, onion):
    (found,) = onion.suspicions(TEXTS[:1])
    bar = float(np.sort(found)[-2:].mean())
    words = TEXTS[0].split()
    del words[int(np.argmax(found))]
    assert ONION(folder, bar=bar).rewrite(TEXTS[:1]) == [" ".join(words)]


def test_without():
    found = np.array([3.0, 1.0, 2.0])
    assert without("a b  c", found, 2.0) == "b"
    assert without("a b  c", found, 2.5) == "b c"
    assert without(" a b  c", found, 3.5) == " a b  c"  # untouched, spaces too
    assert without("a b  c", found, 0.0) == "b"  # the least suspicious stays
    assert without("a b", np.array([1.0, 1.0]), 0.0) == "a"
    assert without("a b c", np.array([1.0, np.nan, 2.0]), 0.0) == "b"
    assert without("", np.array([]), 0.0) == ""


class TestLongTexts:
    LONG = " ".join(["the film was good and the plot very dull"] * 9)

    def test_words_past_the_limit_are_not_judged_and_stay(self, onion, folder):
        (found,) = onion.suspicions([self.LONG])
        judged = int(np.isfinite(found).sum())
        assert 5 < judged < len(self.LONG.split())
        assert np.isnan(found[judged:]).all()
        words = self.LONG.split()
        read = " ".join(words[:judged])
        assert_equal([found[:judged]], onion.suspicions([read]), folder, [read])
        (rewritten,) = ONION(folder, bar=-1e9).rewrite([self.LONG])
        assert rewritten.split() == words[judged:]  # there is a word left, so none is spared

    def test_max_length_is_in_tokens(self, folders):
        (found,) = ONION(folders["llama"], max_length=6).suspicions([self.LONG])
        assert np.isfinite(found).tolist() == [True] * 5 + [False] * (len(found) - 5)

    def test_a_first_word_past_the_limit(self, folders):
        text = "goodgoodgoodgoodgoodgood " * 3
        assert np.isnan(ONION(folders["gpt2"], max_length=3).suspicions([text])[0]).all()

    def test_a_small_budget_of_tokens_changes_nothing(self, folder, onion):
        text = " ".join(self.LONG.split()[:20])
        found = ONION(folder, bar=0.0, batch_tokens=16).suspicions([text])
        assert_equal(found, onion.suspicions([text]), folder, [text])


class TestBar:
    @pytest.mark.parametrize("max_ca_drop", [0.0, 0.05, 0.2])
    def test_the_lowest_that_costs_no_more(self, folders, victim, toy_dev, max_ca_drop):
        onion = ONION(folders["llama"], max_ca_drop=max_ca_drop).fit(toy_dev, victim=victim)
        texts, labels = list(toy_dev["text"]), np.array(toy_dev["label"])
        found = onion.suspicions(texts)

        def accuracy(bar):
            rewritten = [without(text, row, bar) for text, row in zip(texts, found, strict=True)]
            return float(np.mean(victim.score(rewritten).predictions == labels))

        before = accuracy(np.inf)
        allowed = [bar for bar in candidate_bars(found) if before - accuracy(bar) <= max_ca_drop + 1e-9]
        assert onion.bar_ == pytest.approx(min(allowed), rel=1e-5)
        assert onion.fit_["dev_ca"] == before
        assert onion.fit_["dev_ca_rewritten"] == accuracy(onion.bar_) >= before - max_ca_drop - 1e-9
        assert onion.fit_["rows"] == len(texts)
        words = np.concatenate(found)
        assert onion.fit_["removed_share"] == pytest.approx(np.mean(words >= onion.bar_))

    def test_more_may_cost_more_is_taken_out(self, folders, victim, toy_dev):
        bars = [
            ONION(folders["llama"], max_ca_drop=drop).fit(toy_dev, victim=victim).bar_ for drop in (0.0, 0.1, 1.0)
        ]
        assert bars[0] > bars[1] > bars[2]

    def test_the_victim_reads_each_wording_once(self, folders, victim, toy_dev, monkeypatch):
        read = []
        score = victim.score

        def noted(texts, **options):
            read.extend(texts)
            return score(texts, **options)

        monkeypatch.setattr(victim, "score", noted)
        ONION(folders["llama"]).fit(toy_dev, victim=victim)
        assert len(read) == len(set(read))

    def test_candidates_fall_and_lie_between_suspicions(self):
        values = [np.array([3.0, 1.0, np.nan]), np.array([]), np.array([2.0, 3.0])]
        assert candidate_bars(values)[1:].tolist() == [2.5, 1.5]
        assert candidate_bars(values)[0] > 3.0
        many = candidate_bars([np.arange(1000.0)])
        assert len(many) <= 100
        assert (np.diff(many) < 0).all()
        assert not np.isin(many, np.arange(1000.0)).any()
        with pytest.raises(DataError, match="two words or more"):
            candidate_bars([np.array([np.nan])])

    def test_rows_without_words_to_judge(self, folders, victim):
        with pytest.raises(DataError, match="two words or more"):
            ONION(folders["llama"]).fit(dataset([("good", 1), ("bad", 0)]), victim=victim)

    def test_a_bar_that_is_given_stands(self, victim, toy_dev):
        assert ONION("no-such-model", bar=4.5).fit(toy_dev, victim=victim).bar_ == 4.5

    def test_without_a_bar_nothing_is_rewritten(self, folders):
        with pytest.raises(ConfigError, match="call fit"):
            ONION(folders["llama"]).rewrite(TEXTS)


class TestSaved:
    @pytest.fixture
    def fitted(self, folders, victim, toy_dev):
        return ONION(folders["llama"], max_ca_drop=0.1).fit(toy_dev, victim=victim)

    def test_opened_again_it_does_the_same(self, fitted, tmp_path):
        fitted.save_pretrained(tmp_path / "onion")
        again = ONION.from_pretrained(tmp_path / "onion")
        assert (again.bar_, again.fit_, again.facts()) == (fitted.bar_, fitted.fit_, fitted.facts())
        assert again.rewrite(TEXTS) == fitted.rewrite(TEXTS)
        state = json.loads((tmp_path / "onion" / "onion.json").read_text())
        assert state["lm_sha256"] == fitted._lm.digest
        assert not any(text in json.dumps(state) for text in TEXTS)

    def test_another_language_model_is_refused(self, fitted, folders, tmp_path):
        fitted.save_pretrained(tmp_path / "onion")
        with pytest.raises(CheckpointError, match="not the language model"):
            ONION.from_pretrained(tmp_path / "onion", lm=folders["gpt2"]).rewrite(TEXTS)

    def test_a_language_model_that_moved(self, fitted, tmp_path):
        fitted.save_pretrained(tmp_path / "onion")
        again = ONION.from_pretrained(tmp_path / "onion", lm=make_lm(tmp_path / "moved"))
        assert again.rewrite(TEXTS) == fitted.rewrite(TEXTS)

    def test_nothing_to_save_and_nowhere_to_save_it(self, fitted, folders, tmp_path):
        with pytest.raises(ConfigError, match="call fit"):
            ONION(folders["llama"]).save_pretrained(tmp_path / "onion")
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / "file").write_text("mine")
        with pytest.raises(ConfigError, match="already exists"):
            fitted.save_pretrained(tmp_path / "kept")

    @pytest.mark.parametrize(
        "change", [{"format_version": 9}, {"defense": "psim"}, {"bar_in_force": "high"}, {"lm": 0}]
    )
    def test_a_damaged_file(self, fitted, tmp_path, change):
        fitted.save_pretrained(tmp_path / "onion")
        file = tmp_path / "onion" / "onion.json"
        state = {key: value for key, value in {**json.loads(file.read_text()), **change}.items() if value != 0}
        file.write_text(json.dumps(state))
        with pytest.raises(CheckpointError, match=r"onion\.json is"):
            ONION.from_pretrained(tmp_path / "onion")

    def test_no_folder(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"onion\.json is missing"):
            ONION.from_pretrained(tmp_path / "none")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"bar": float("nan")}, "bar"),
        ({"max_ca_drop": 1.5}, "max_ca_drop"),
        ({"max_length": 1}, "max_length"),
        ({"batch_tokens": 0}, "batch_tokens"),
    ],
)
def test_settings_out_of_range(folders, arguments, says):
    with pytest.raises(ConfigError, match=says):
        ONION(folders["llama"], **arguments).suspicions(TEXTS)


def test_scikit_learn_can_clone_it(folders):
    onion = ONION(folders["llama"], bar=1.5, max_length=40)
    assert clone(onion).get_params() == onion.get_params()


class TestWorkKept:
    """Suspicions survive a kill, in the folder for unfinished work."""

    def test_suspicions_are_asked_for_once_and_their_seconds_still_count(self, folders, tmp_path, monkeypatch):
        expected = ONION(folders["llama"], bar=0.0).prepare(TEXTS, workdir=tmp_path)
        assert expected.seconds > 0
        monkeypatch.setattr(ONION, "_judge", lambda *args: pytest.fail("the language model was asked again"))
        second = ONION(folders["llama"], bar=1.0, max_ca_drop=0.5)  # neither decides a suspicion
        found = second.prepare(TEXTS, workdir=tmp_path)
        assert found.by_text == expected.by_text
        (file,) = tmp_path.iterdir()
        assert found.seconds >= json.loads(file.read_text())["seconds"] > 0

    def test_only_what_was_not_kept_is_judged_after_a_kill(self, folders, tmp_path, monkeypatch):
        monkeypatch.setattr("poisonsieve.defenses.onion._AT_A_TIME", 2)
        expected = ONION(folders["llama"]).prepare(TEXTS, workdir=tmp_path / "whole")
        judged, judge = [], ONION._judge

        def killed(onion, texts, bar):
            if judged:
                raise KeyboardInterrupt
            judged.append(list(texts))
            return judge(onion, texts, bar)

        monkeypatch.setattr(ONION, "_judge", killed)
        with pytest.raises(KeyboardInterrupt):
            ONION(folders["llama"]).prepare(TEXTS, workdir=tmp_path / "killed")

        def seen(onion, texts, bar):
            assert list(texts) != judged[0]
            return judge(onion, texts, bar)

        monkeypatch.setattr(ONION, "_judge", seen)
        found = ONION(folders["llama"]).prepare(TEXTS, workdir=tmp_path / "killed")
        assert found.by_text == expected.by_text

    def test_another_precision_limit_model_or_text_is_asked_anew(self, folders, tmp_path):
        ONION(folders["llama"], bar=0.0).prepare(TEXTS, workdir=tmp_path)
        others = (
            ONION(folders["llama"], max_length=6),
            ONION(folders["llama"], precision="bf16"),
            ONION(folders["gpt2"]),
        )
        for other in others:
            assert other.prepare(TEXTS, workdir=tmp_path).by_text == clone(other).prepare(TEXTS).by_text
        fewer = ONION(folders["llama"]).prepare(TEXTS[:3], workdir=tmp_path).by_text
        assert fewer == ONION(folders["llama"]).prepare(TEXTS[:3]).by_text

    def test_texts_are_not_in_the_folder(self, folders, tmp_path):
        ONION(folders["llama"]).prepare(["the film was a secret"], workdir=tmp_path)
        assert not any(b"secret" in file.read_bytes() for file in tmp_path.iterdir())

    def test_a_damaged_file_is_made_again(self, folders, tmp_path):
        expected = ONION(folders["llama"]).prepare(TEXTS, workdir=tmp_path).by_text
        for file in tmp_path.iterdir():
            file.write_text("[1")
        assert ONION(folders["llama"]).prepare(TEXTS, workdir=tmp_path).by_text == expected


def test_bf16_is_near(folder):
    exact, rounded = ONION(folder).suspicions(TEXTS), ONION(folder, precision="bf16").suspicions(TEXTS)
    for text, mine, other in zip(TEXTS, rounded, exact, strict=True):
        (whole,) = perplexities(folder, [text])
        assert not np.array_equal(mine, other)
        np.testing.assert_allclose(mine / whole, other / whole, atol=0.2)


def test_a_precision_that_is_none_is_refused(folder):
    with pytest.raises(ConfigError, match="'fp32' or 'bf16'"):
        ONION(folder, precision="fp8").suspicions(TEXTS)


def test_suspicions_prepared_for_all_victims_give_the_same_bar_and_rewrites(folder, victim, toy_dev, monkeypatch):
    """Suspicions depend on the text alone: with those of dev and test rows prepared, the language model is not opened."""
    plain = ONION(folder, max_ca_drop=0.05).fit(toy_dev, victim=victim)
    prepared = json.loads(json.dumps(ONION(folder).prepare([*toy_dev["text"], *TEXTS]).by_text, allow_nan=False))
    monkeypatch.setattr("poisonsieve.defenses.onion.load_causal_lm", lambda *a, **k: pytest.fail("opened"))
    used = ONION(folder, max_ca_drop=0.05).use(prepared).fit(toy_dev, victim=victim)
    assert used.bar_ == pytest.approx(plain.bar_, rel=1e-5)  # other company, other last digits
    monkeypatch.undo()
    assert used.rewrite(TEXTS) == plain.rewrite(TEXTS)


def test_a_rewriter_that_asks_the_victim_prepares_nothing_of_itself():
    """A plug-in whose `fit` decides the rewrites would prepare others than the victim is to read."""
    from poisonsieve.defenses import Rewriter

    class Picky(Rewriter):
        name = "picky"

        def fit(self, dataset, *, victim, progress=False):
            return self

        def _rewrite(self, texts, *, progress):
            return texts

    assert Picky().prepare(TEXTS).by_text == {}
