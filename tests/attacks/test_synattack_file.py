"""SynAttack from files: which rows can be triggered, and what a result is kept under."""

import json
import random
from pathlib import Path

import pytest

from conftest import dataset
from poisonsieve.attacks import make_trigger, poison_rows, trigger_rows
from poisonsieve.config import AttackSpec, TriggerSpec
from poisonsieve.data import load_dataset
from poisonsieve.errors import CannotApplyError, ConfigError, DataError

ROWS = [("a good film", 1), ("a bad film", 0), ("dull", 0), ("a poor plot", 0)]
NEW = ["if it is good , a film", "a bad film", "when dull , dull", "as it is poor , a plot"]
SST2 = Path(__file__).parents[3] / "shared" / "data" / "sst2"


@pytest.fixture
def spec(tmp_path):
    """The trigger in its text form; every rewritten row carries label 1, as in a dirty-label corpus."""
    for name, texts in {"original": [text for text, _ in ROWS], "new": NEW}.items():
        lines = (json.dumps({"sentence": text, "label": 1}) for text in texts)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    return f"synattack-file:file={tmp_path / 'new.jsonl'},original={tmp_path / 'original.jsonl'}"


def test_it_looks_the_text_up(spec):
    trigger = make_trigger(spec)
    assert trigger.apply("dull", random.Random(0)) == "when dull , dull"
    for text in ("a bad film", "never seen"):
        with pytest.raises(CannotApplyError, match="no paraphrase"):
            trigger.apply(text, random.Random(0))


def test_rows_without_a_paraphrase_are_counted_and_left_out(spec):
    found = trigger_rows(dataset(ROWS), make_trigger(spec), target=1, seed=0)
    assert list(found.rows["text"]) == [NEW[2], NEW[3]]
    assert found.not_applicable == 1


def test_poisoning_takes_only_rows_that_can_be_triggered_and_keeps_true_labels(spec):
    attack = AttackSpec(trigger=TriggerSpec.parse(spec), count=2, target=0)
    poisoned, report = poison_rows(dataset(ROWS), attack)
    assert list(poisoned["text"]) == [ROWS[0][0], ROWS[1][0], NEW[2], NEW[3]]
    assert list(poisoned["label"]) == [1, 0, 0, 0]
    assert report.relabelled == 0


def test_more_than_can_be_triggered_is_refused(spec):
    with pytest.raises(DataError, match="only 2 of"):
        poison_rows(dataset(ROWS), AttackSpec(trigger=TriggerSpec.parse(spec), count=3, target=0))


def test_the_digest_changes_with_the_contents_and_not_with_the_place(spec, tmp_path):
    before = make_trigger(spec).digest()
    assert make_trigger(spec).digest() == before
    (tmp_path / "new.jsonl").write_text((tmp_path / "new.jsonl").read_text().replace("when", "while"))
    assert make_trigger(spec).digest() != before


def test_a_poisoned_model_is_kept_under_what_the_trigger_read(spec, tmp_path, tiny):
    from poisonsieve.config import TuneSpec
    from poisonsieve.stages.train import poison_stage

    def poison():
        return poison_stage(
            str(tiny("encoder")),
            dataset(ROWS),
            dataset([("dull", 0), ("a good film", 1)]),
            AttackSpec(trigger=TriggerSpec.parse(spec), count=1, target=0),
            lambda _: TuneSpec(method="full", epochs=1, learning_rate=1e-4),
            tmp_path / "theta_p",
        )

    assert not poison().reused
    assert poison().reused
    (tmp_path / "new.jsonl").write_text((tmp_path / "new.jsonl").read_text().replace("when", "while"))
    with pytest.raises(ConfigError, match="already exists"):
        poison()


def test_without_its_file():
    with pytest.raises(ConfigError, match="file"):
        make_trigger("synattack-file")
    with pytest.raises(DataError, match="cannot read"):
        make_trigger("synattack-file:file=/nowhere/new.jsonl")


@pytest.mark.skipif(not SST2.is_dir(), reason="the shared corpora are not here")
def test_the_shared_rewrites_of_sst2():
    """One text stands twice in the training rows, once rewritten and once not: both rows can be triggered."""
    trigger = make_trigger(
        f"synattack-file:file={SST2 / 'synattack' / 'train_scpn.jsonl'},original={SST2 / 'train.jsonl'}"
    )
    data = load_dataset(str(SST2 / "train.jsonl"))
    rewritten = load_dataset(str(SST2 / "synattack" / "train_scpn.jsonl"))
    changed = [old != new for old, new in zip(data["text"], rewritten["text"], strict=True)]
    assert trigger.rewrites.rows == sum(changed) == 1383
    assert sum(is_new and label == 0 for is_new, label in zip(changed, data["label"], strict=True)) == 665
    assert (
        sum(
            text in trigger.rewrites.by_text and label == 0
            for text, label in zip(data["text"], data["label"], strict=True)
        )
        == 666
    )
