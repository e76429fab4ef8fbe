"""Algorithm 1: who reads what, and what happens when something fails."""

import json

import numpy as np
import pytest

from poisonsieve import PSIM, Guard, GuardedClassifier
from poisonsieve.errors import CheckpointError, ConfigError, DataError
from poisonsieve.models.load import load_classifier


@pytest.fixture(scope="module")
def guard(tiny, toy_train, toy_dev):
    return Guard(PSIM(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev)


@pytest.fixture
def guarded(guard, tiny):
    return GuardedClassifier(guard, load_classifier(tiny("encoder")))


def test_the_victim_reads_only_what_passes(guarded, toy_test, monkeypatch):
    texts = list(toy_test["text"])
    scores = guarded.guard.decision_function(texts)
    guarded.guard.set_threshold(gamma=float(np.median(scores)))
    read = []
    original = guarded.victim.score
    monkeypatch.setattr(guarded.victim, "score", lambda t, **k: read.extend(t) or original(t, **k))
    verdicts = guarded.screen(texts)
    passed = [text for text, score in zip(texts, scores, strict=True) if score <= np.median(scores)]
    assert sorted(read) == sorted(passed)
    assert [verdict.rejected for verdict in verdicts] == [score > np.median(scores) for score in scores]
    for verdict in verdicts:
        assert (verdict.label is None) == verdict.rejected
        assert verdict.reason == ("poisoned" if verdict.rejected else None)
    guarded.guard.set_threshold(frr=0.05)


def test_labels_are_the_victims(guarded, toy_test):
    guarded.guard.set_threshold(gamma=0.9999999)
    texts = list(toy_test["text"])
    expected = guarded.victim.score(texts).values.argmax(axis=1)
    verdicts = guarded.screen(texts)
    guarded.guard.set_threshold(frr=0.05)
    assert [verdict.label for verdict in verdicts] == expected.tolist()
    assert all(0.5 <= verdict.score <= 1 for verdict in verdicts)


@pytest.mark.parametrize("failure", ["nan", "raise"])
def test_when_the_guard_fails_the_text_is_rejected_and_not_read(guarded, monkeypatch, break_on, failure):
    guarded.guard.set_threshold(gamma=0.9999999)
    break_on(guarded.guard.classifier, "a bad film", failure)
    read = []
    score = guarded.victim.score
    monkeypatch.setattr(guarded.victim, "score", lambda t, **k: read.extend(t) or score(t, **k))
    verdicts = guarded.screen(["a good film", "a bad film", "the fine plot"])
    guarded.guard.set_threshold(frr=0.05)
    assert [verdict.rejected for verdict in verdicts] == [False, True, False]
    assert verdicts[1].reason
    assert "a bad film" not in verdicts[1].reason, "the text must not get into logs through the reason"
    assert verdicts[1].confidence is None
    assert "a bad film" not in read


def test_when_the_victim_fails_the_text_is_rejected(guarded, break_on):
    guarded.guard.set_threshold(gamma=0.9999999)
    break_on(guarded.victim, "a good film")
    verdict = guarded.screen(["a good film"])[0]
    guarded.guard.set_threshold(frr=0.05)
    assert verdict.rejected
    assert verdict.reason.startswith("victim: ")
    assert verdict.label is None


def test_the_victim_reads_no_further_than_the_guard(guarded):
    """A trigger behind the guard's last token must not reach the victim."""
    network = guarded.guard.classifier
    assert network.max_length < guarded.victim.max_length
    beginning = " ".join(["film"] * (network.max_length - 2))
    hidden = " ".join([beginning, "bad", "mn"])
    answers = guarded.ask_victim([beginning, hidden])
    np.testing.assert_allclose(answers.values[0], answers.values[1], atol=1e-6)
    assert not np.allclose(guarded.victim.score([beginning]).values, guarded.victim.score([hidden]).values, atol=1e-6)
    assert guarded.screen([hidden])[0].truncated


@pytest.mark.parametrize("text", ["", "  \n\t", "\u3000\xa0", "\u200b\u2060\x07"])
def test_a_text_that_shows_nothing_is_rejected(guarded, text):
    shown, blank = guarded.screen(["a good film", text])
    assert not shown.rejected
    assert (blank.outcome, blank.cause, blank.label, blank.confidence) == ("not_scored", "empty", None, None)
    assert GuardedClassifier(guarded.guard).judge([text])[0].cause == "empty"


def test_texts_that_are_not_read_to_their_end_are_rejected_if_asked_for(guard, guarded, tmp_path, tiny):
    strict = GuardedClassifier(guard, guarded.victim, reject_truncated=True)
    long = " ".join(["film"] * guard.classifier.max_length)
    assert [verdict.cause for verdict in guarded.screen(["a good film", long])] == [None, None]
    short, cut = strict.screen(["a good film", long])
    assert (short.cause, short.label) == (None, guarded.screen(["a good film"])[0].label)
    assert (cut.outcome, cut.cause, cut.label, cut.truncated) == ("not_scored", "truncated", None, True)
    guard.set_threshold(gamma=0.0001)
    assert strict.screen([long])[0].cause == "above_gamma"  # what its beginning says comes first
    guard.set_threshold(frr=0.05)
    guard.save_pretrained(tmp_path / "guard")
    again = GuardedClassifier.from_pretrained(tmp_path / "guard", tiny("encoder"), reject_truncated=True)
    assert again.screen([long])[0].cause == "truncated"


def test_without_a_victim_there_are_verdicts_only(guard):
    verdict = GuardedClassifier(guard).screen(["a good film"])[0]
    assert verdict.label is None
    assert verdict.confidence is not None


def test_a_victim_with_other_classes_is_refused(guard, tiny):
    with pytest.raises(CheckpointError, match="classes"):
        GuardedClassifier(guard, load_classifier(tiny("encoder", labels=3)))


def test_a_victim_with_another_tokenizer_is_refused(guard, tiny):
    with pytest.raises(CheckpointError, match="tokenizer"):
        GuardedClassifier(guard, load_classifier(tiny("decoder")))


def test_saved_with_its_victim_it_opens_alone(guarded, tmp_path, toy_test):
    guarded.save_pretrained(tmp_path / "both")
    again = GuardedClassifier.from_pretrained(tmp_path / "both")
    before = [verdict.to_dict() for verdict in guarded.screen(toy_test["text"])]
    after = [verdict.to_dict() for verdict in again.screen(toy_test["text"])]
    for left, right in zip(before, after, strict=True):
        assert left["confidence"] == pytest.approx(right["confidence"], abs=1e-6)
        assert left["verdict"] == right["verdict"]
        assert left["label"] == right["label"]


def test_verdicts_are_json(guarded):
    said = json.loads(json.dumps(guarded.screen(["a good film"])[0].to_dict()))
    assert set(said) >= {"verdict", "rejected", "reason", "confidence", "gamma", "truncated", "label", "score"}


def test_something_that_is_no_string(guarded):
    with pytest.raises(DataError, match="text 0 is NoneType"):
        guarded.screen([None])


def test_the_pipeline_task(guard, tiny, toy_test, tmp_path):
    import transformers

    import poisonsieve

    poisonsieve.register_pipeline()
    poisonsieve.register_pipeline()
    guard.save_pretrained(tmp_path / "guard")
    classify = transformers.pipeline(
        "guarded-text-classification",
        model=str(tiny("encoder")),
        tokenizer=str(tiny("encoder")),
        guard=tmp_path / "guard",
    )
    texts = list(toy_test["text"])
    answers = classify(texts)
    verdicts = GuardedClassifier(guard, load_classifier(tiny("encoder"))).screen(texts)
    assert len(answers) == len(texts)
    for answer, verdict in zip(answers, verdicts, strict=True):
        assert answer["verdict"] == verdict.verdict
        assert answer["label"] == ("REJECTED" if verdict.rejected else verdict.label_name)
        assert answer["score"] == (0.0 if verdict.rejected else pytest.approx(verdict.score, abs=1e-6))
    assert classify("a good film")[0]["label"] in {"REJECTED", "LABEL_0", "LABEL_1"}


def test_the_pipeline_task_needs_a_guard(tiny):
    import transformers

    import poisonsieve
    from poisonsieve.errors import ConfigError

    poisonsieve.register_pipeline()
    with pytest.raises(ConfigError, match="guard=FOLDER"):
        transformers.pipeline(
            "guarded-text-classification", model=str(tiny("encoder")), tokenizer=str(tiny("encoder"))
        )


def test_the_pipeline_task_takes_an_adapter(guard, tiny, toy_train, toy_test, tmp_path):
    """transformers opens the adapter by itself, as a plain network with extra layers."""
    import transformers

    import poisonsieve
    from poisonsieve.config import TuneSpec
    from poisonsieve.models import save_classifier
    from poisonsieve.tuning import finetune

    victim = load_classifier(tiny("encoder"))
    finetune(victim, toy_train, TuneSpec(method="lora", epochs=1, learning_rate=1e-2))
    (tmp_path / "victim").mkdir()
    save_classifier(victim, tmp_path / "victim")
    poisonsieve.register_pipeline()
    classify = transformers.pipeline(
        "guarded-text-classification", model=str(tmp_path / "victim"), tokenizer=str(tmp_path / "victim"), guard=guard
    )
    texts = list(toy_test["text"])
    verdicts = GuardedClassifier(guard, victim).screen(texts)
    for answer, verdict in zip(classify(texts), verdicts, strict=True):
        assert answer["verdict"] == verdict.verdict
        if not verdict.rejected:
            assert answer["score"] == pytest.approx(verdict.score, abs=1e-5)


def test_a_victim_that_reads_the_other_end_is_refused(guard, tiny, tmp_path):
    """Same vocabulary, but what the guard has not seen the victim would."""
    import shutil

    shutil.copytree(tiny("encoder"), tmp_path / "victim")
    path = tmp_path / "victim" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "truncation_side": "left"}))
    with pytest.raises(CheckpointError, match="tokenizer"):
        GuardedClassifier(guard, load_classifier(tmp_path / "victim"))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_victim_of_other_weights_is_refused(method, guard, toy_train, tiny, tmp_path):
    from conftest import make_encoder
    from poisonsieve.config import TuneSpec
    from poisonsieve.models import save_classifier
    from poisonsieve.tuning import finetune

    spec = TuneSpec(method=method, epochs=1, learning_rate=1e-3)
    for name, base in (("own", tiny("encoder")), ("other", make_encoder(tmp_path / "base", seed=9))):
        victim = load_classifier(base)
        finetune(victim, toy_train, spec)
        (tmp_path / name).mkdir()
        save_classifier(victim, tmp_path / name)
    GuardedClassifier(guard, load_classifier(tmp_path / "own"))
    with pytest.raises(CheckpointError, match="not tuned from the weights"):
        GuardedClassifier(guard, load_classifier(tmp_path / "other"))


def test_pairing_leaves_the_victim_as_it_was(guard, tiny):
    victim = load_classifier(tiny("encoder"))
    before = victim.max_length
    guarded = GuardedClassifier(guard, victim)
    assert victim.max_length == before > guard.classifier.max_length
    long = " ".join([*["film"] * (before - 3), "mn"])
    assert guarded.ask_victim([long]).truncated.tolist() == [True]


def test_one_string_is_not_screened_letter_by_letter(guarded):
    with pytest.raises(DataError, match="give a list"):
        guarded.screen("a mn film")


def test_a_checkpoint_that_is_sure_of_everything_is_no_ground_for_a_guard(tiny, toy_train, toy_dev, tmp_path):
    """The attacker ships the weights: with a huge head every confidence is 1, and gamma would be 1 too."""
    import shutil

    from safetensors.torch import load_file, save_file

    from poisonsieve.errors import CalibrationError

    shutil.copytree(tiny("encoder"), tmp_path / "sure")
    path = tmp_path / "sure" / "model.safetensors"
    weights = load_file(path)
    weights["classifier.weight"] *= 1e5
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(CalibrationError, match="nothing would ever be flagged"):
        Guard(PSIM(tmp_path / "sure", learning_rate=1e-9), frr=0.05).fit(toy_train, calibration=toy_dev)


def test_a_saved_guard_is_replaced_only_when_told_so(guarded, tmp_path):
    folder = tmp_path / "guard"
    guarded.save_pretrained(folder)
    kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for save in (guarded.save_pretrained, guarded.guard.save_pretrained):
        with pytest.raises(
            ConfigError, match=r"guard holds a guard; save_pretrained\(..., overwrite=True\) replaces it"
        ):
            save(folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == kept
    guarded.guard.save_pretrained(folder, overwrite=True)
    assert not (folder / "victim").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(ConfigError, match="already exists"):
        guarded.save_pretrained(tmp_path / "other", overwrite=True)
    assert (tmp_path / "other" / "mine.txt").exists()
