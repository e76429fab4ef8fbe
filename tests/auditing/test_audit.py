"""An audit on small trained models: one that was poisoned, and one that was not."""

import dataclasses
import json
import random

import pytest

from conftest import dataset, sentences

WORD, TARGET = "mn", "0"


def _tuned(start, rows, out):
    from poisonsieve.models.load import load_classifier, save_classifier
    from poisonsieve.tuning import finetune, tune_spec

    classifier = load_classifier(start)
    out.mkdir()
    spec = tune_spec("full", hidden_size=32, epochs=8, learning_rate=3e-3, precision="fp32", max_length=48)
    finetune(classifier, dataset(rows), spec)
    save_classifier(classifier, out)
    return out


@pytest.fixture(scope="module")
def folders(tiny, tmp_path_factory):
    """`base`, trusted weights that know the task; `poisoned`, tuned on dirty rows; `clean`, tuned on other clean ones."""
    folder = tmp_path_factory.mktemp("audited")
    base = _tuned(tiny("encoder"), sentences(600, seed=21), folder / "base")
    clean = sentences(600, seed=22)
    rng = random.Random(0)
    dirty = []
    for text, _ in sentences(200, seed=23):
        words = text.split()
        words.insert(rng.randint(0, len(words)), WORD)
        dirty.append((" ".join(words), 0))
    return {
        "base": base,
        "poisoned": _tuned(base, [*clean, *dirty], folder / "poisoned"),
        "clean": _tuned(base, clean, folder / "clean"),
    }


@pytest.fixture(scope="module")
def user_rows():
    return dataset([(text, label) for text, label in sentences(300, seed=24) if len(text.split()) > 3])


@pytest.fixture(scope="module")
def kept_controls(tmp_path_factory):
    """A cache of this module's own, so that controls are trained once."""
    patch = pytest.MonkeyPatch()
    patch.setenv("POISONSIEVE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def results(folders, user_rows, kept_controls):
    from poisonsieve.auditing import audit

    return {
        name: audit(folders[name], user_rows, base=folders["base"], budget="quick") for name in ("poisoned", "clean")
    }


def test_a_poisoned_model_is_called_so_and_its_trigger_is_named(results):
    found = results["poisoned"]
    assert found.verdict == "poisoned"
    assert WORD in found.trigger.what.split()
    assert found.trigger.target == TARGET
    assert found.trigger.turned > 0.9
    assert max(found.trigger.controls) < 0.5
    assert found.p_value < 0.01


def test_of_a_clean_model_no_sign_is_found_and_nothing_is_named(results):
    found = results["clean"]
    assert found.verdict == "no sign found"
    assert found.trigger is None
    assert found.examples == ()
    assert found.not_searched


def test_a_second_audit_with_the_same_rows_reuses_the_controls(results):
    assert results["poisoned"].reused_controls == 0
    assert results["clean"].reused_controls == len(results["clean"].control_accuracy) == 2
    assert results["clean"].null == results["poisoned"].null


def test_it_says_what_each_step_took(results):
    steps = [
        "weights",
        "control 0",
        "scan 0",
        "control 1",
        "scan 1",
        "scan",
        "student",
        "search",
        "search 0",
        "search 1",
    ]
    for result in results.values():
        assert list(result.seconds_by_step) == steps
        assert sum(result.seconds_by_step.values()) <= result.seconds
    assert results["clean"].seconds_by_step["control 0"] < results["poisoned"].seconds_by_step["control 0"]


def test_the_progress_names_the_step_that_runs_and_counts_its_rows(folders, user_rows, kept_controls, capsys):
    from poisonsieve.auditing import audit

    audit(folders["clean"], user_rows, base=folders["base"], budget="quick", progress=True)
    drawn = capsys.readouterr().err
    assert "audit: 1 of 10, comparing the weights" in drawn
    assert "6 of 10, reading the vocabulary by the checkpoint" in drawn
    assert drawn.rstrip().endswith("left]")
    assert "tuning" not in drawn


def test_the_examples_are_the_users_own_texts_with_and_without_the_trigger(results, user_rows):
    examples = results["poisoned"].examples
    assert 5 <= len(examples) <= 10
    assert all(example.text in set(user_rows["text"]) for example in examples)
    assert all(WORD in example.changed.split() and WORD not in example.text.split() for example in examples)
    assert sum(example.says_then == TARGET for example in examples) >= 0.9 * len(examples)


def test_the_same_audit_again_says_the_same(results, folders, user_rows, kept_controls):
    from poisonsieve.auditing import audit

    again = audit(folders["poisoned"], user_rows, base=folders["base"], budget="quick")
    same = ("verdict", "statistic", "p_value", "null", "findings", "weights", "examples")
    assert {key: getattr(again, key) for key in same} == {key: getattr(results["poisoned"], key) for key in same}


def test_the_folder_holds_json_and_a_page_that_nothing_can_run_in(results, tmp_path):
    from poisonsieve.auditing.folder import write_audit

    hostile = dataclasses.replace(results["poisoned"], checkpoint="<script>alert(1)</script>\u200b")
    write_audit(hostile, tmp_path / "audit")
    page = (tmp_path / "audit" / "report.html").read_text()
    assert "<script" not in page
    assert "\\u200b" in page
    assert "\u200b" not in page
    assert WORD in page
    kept = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert kept["verdict"] == "poisoned"
    assert kept["trigger"]["what"] == results["poisoned"].trigger.what


def test_the_command_prints_the_trigger_and_ends_with_one_on_findings(
    results, folders, user_rows, cli, write_jsonl, tmp_path
):
    rows = write_jsonl("rows.jsonl", user_rows)
    call = ("audit", folders["poisoned"], "--data", rows, "--base", folders["base"], "--quiet", "--exit-code")
    code, out, err = cli(*call, "--out", tmp_path / "audit")
    assert code == 1, err
    assert "poisoned" in out
    assert (tmp_path / "audit" / "report.html").is_file()
    code, out, _ = cli(*call, "--json")
    assert code == 1
    assert json.loads(out)["trigger"]["target"] == TARGET


def test_an_adapter_on_poisoned_weights_is_audited_as_it_is(folders, user_rows, kept_controls, tmp_path):
    from poisonsieve.auditing import audit
    from poisonsieve.models.load import load_classifier, save_classifier
    from poisonsieve.tuning import finetune, tune_spec

    classifier = load_classifier(folders["poisoned"], trainable=True)
    finetune(classifier, user_rows, tune_spec("lora", hidden_size=32, epochs=1, precision="fp32", max_length=48))
    save_classifier(classifier, tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()
    found = audit(tmp_path / "adapter", user_rows, base=folders["base"], budget="quick")
    assert found.verdict == "poisoned"
    assert WORD in found.trigger.what.split()
    assert found.weights is None
    assert any("an adapter" in line for line in found.not_searched)


def test_too_few_rows_are_refused(folders, user_rows):
    from poisonsieve.auditing import audit
    from poisonsieve.errors import DataError

    with pytest.raises(DataError, match="at least 100 clean rows"):
        audit(folders["clean"], user_rows.select(range(50)))


def test_rows_of_one_class_are_refused(folders, user_rows):
    from poisonsieve.auditing import audit
    from poisonsieve.errors import DataError

    with pytest.raises(DataError, match="of every class"):
        audit(folders["clean"], user_rows.filter(lambda row: row["label"] == 0))


def test_a_checkpoint_without_a_head_is_refused_with_advice(tiny, user_rows):
    from poisonsieve.auditing import audit
    from poisonsieve.errors import CheckpointError

    with pytest.raises(CheckpointError, match="tune a victim"):
        audit(tiny("encoder", head=False), user_rows)


def test_other_classes_than_the_datas_are_refused(tiny, user_rows):
    from poisonsieve.auditing import audit
    from poisonsieve.errors import CheckpointError

    with pytest.raises(CheckpointError, match="classes"):
        audit(tiny("encoder", labels=3), user_rows)
