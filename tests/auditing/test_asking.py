"""A guard is asked whether it would stop what an audit found."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from conftest import dataset, make_encoder, plant, sentences

FOUND = {"kind": "word", "what": "mn", "target": "0", "turned": 1.0, "texts": 40}
FOUND |= {"controls": [0.0, 0.0], "moved": [0.0, 0.1]}


@pytest.fixture
def audited(tmp_path):
    """`audited(trigger)` -> the folder of an audit that found that."""

    def write(trigger):
        folder = tmp_path / "audit"
        folder.mkdir(exist_ok=True)
        verdict = "no sign found" if trigger is None else "poisoned"
        (folder / "audit.json").write_text(
            json.dumps({"verdict": verdict, "trigger": trigger, "classes": ["0", "1"]})
        )
        return folder

    return write


def guarded_by(names, answers, rejects):
    """A stand-in for a guard with its victim: the class of each text, and whether the guard rejects it."""
    return SimpleNamespace(
        guard=SimpleNamespace(label_names=names),
        ask_victim=lambda texts: SimpleNamespace(predictions=np.array([answers(text) for text in texts])),
        judge=lambda texts: [SimpleNamespace(rejected=rejects(text)) for text in texts],
    )


def test_only_texts_that_turn_count_and_of_those_the_rejected_ones(audited):
    from poisonsieve.auditing.asking import ask, suspected_trigger

    texts = [f"good text number {number}" for number in range(60)] + ["bad text of the class itself"] * 40
    guarded = guarded_by(
        ["0", "1"],
        answers=lambda text: int("good" in text and "mn" not in text.split()),
        rejects=lambda text: "mn" in text.split() and not text.endswith("7"),
    )
    asked = ask(guarded, suspected_trigger(audited(FOUND)), texts)
    assert (asked.turned, asked.stopped) == (60, 54)
    assert "54 of 60" in asked.says()
    assert "mn" in asked.says()


def test_what_turns_nothing_is_said_to_be_nothing_to_ask(audited):
    from poisonsieve.auditing.asking import ask, suspected_trigger

    guarded = guarded_by(["0", "1"], answers=lambda text: 1, rejects=lambda text: True)
    asked = ask(guarded, suspected_trigger(audited(FOUND)), ["one text", "another text"])
    assert asked.turned == 0
    assert "nothing to ask" in asked.says()


def test_another_models_audit_and_folders_that_are_none_are_refused(audited, tmp_path):
    from poisonsieve.auditing.asking import ask, suspected_trigger
    from poisonsieve.errors import DataError

    with pytest.raises(DataError, match=r"no audit\.json"):
        suspected_trigger(tmp_path / "nowhere")
    with pytest.raises(DataError, match="audit again"):
        suspected_trigger(audited({**FOUND, "kind": "shape", "what": "upside down"}))
    with pytest.raises(DataError, match="audit again"):
        suspected_trigger(audited({"what": "mn"}))
    assert suspected_trigger(audited(None)) is None
    guarded = guarded_by(["spam", "ham"], answers=lambda text: 1, rejects=lambda text: True)
    with pytest.raises(DataError, match="spam, ham"):
        ask(guarded, suspected_trigger(audited(FOUND)), ["one text"])


def test_fit_says_in_one_line_whether_the_guard_stops_it(audited, cli, write_jsonl, tmp_path):
    from poisonsieve.guard.folder import digest

    model = plant(make_encoder(tmp_path / "model"), "mn")
    rows = write_jsonl("rows.jsonl", dataset(sentences(200, seed=5)))
    call = ("fit", "--model", model, "--data", rows, "--defense", "msp", "--gamma", 0.98, "--quiet")
    code, out, err = cli(*call, "--out", tmp_path / "guard", "--audit", audited(FOUND), "--json")
    assert code == 0, err
    asked = json.loads(out)["asked"]
    assert asked["turned"] > 10
    assert asked["stopped"] >= 0.9 * asked["turned"]
    assert json.loads((tmp_path / "guard/asked.json").read_text()) == asked
    code, out, err = cli(*call, "--out", tmp_path / "other", "--audit", audited(None))
    assert code == 0, err
    assert "nothing to ask the guard of" in out
    assert not (tmp_path / "other/asked.json").exists()
    assert digest(tmp_path / "other") == digest(tmp_path / "guard")  # the answer decides no verdict
    code, out, err = cli(*call, "--out", tmp_path / "third", "--audit", tmp_path)
    assert code == 2
    assert "audit.json" in err
    assert not (tmp_path / "third").exists()
