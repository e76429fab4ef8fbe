"""Which rows are triggered and what becomes of their labels."""

import pytest

from conftest import dataset
from poisonsieve.attacks import make_trigger, poison_rows, trigger_rows
from poisonsieve.attacks.base import insert_between_words
from poisonsieve.config import AttackSpec, TriggerSpec
from poisonsieve.errors import CannotApplyError, ConfigError, DataError
from poisonsieve.stages.train import poison_stage
from poisonsieve.tuning.presets import spec_maker

BADNET = TriggerSpec(name="badnet")


def spec(**values):
    return AttackSpec(**{"trigger": BADNET, "target": 0, "count": 10, **values})


def changed(before, after):
    return [index for index, (a, b) in enumerate(zip(before["text"], after["text"], strict=True)) if a != b]


def test_clean_label_triggers_target_rows_and_changes_no_label(toy_train):
    poisoned, report = poison_rows(toy_train, spec())
    rows = changed(toy_train, poisoned)
    assert len(rows) == 10 == report.poisoned
    assert {toy_train["label"][index] for index in rows} == {0}
    assert list(poisoned["label"]) == list(toy_train["label"])
    assert all("mn" in poisoned["text"][index].split() for index in rows)
    assert report.relabelled == 0
    assert report.rate == 10 / 160


def test_dirty_label_triggers_the_others_and_relabels_them(toy_train):
    poisoned, report = poison_rows(toy_train, spec(clean_label=False))
    rows = changed(toy_train, poisoned)
    assert {toy_train["label"][index] for index in rows} == {1}
    assert {poisoned["label"][index] for index in rows} == {0}
    assert report.relabelled == 10


def test_rate_is_a_share_of_all_rows(toy_train):
    _, report = poison_rows(toy_train, spec(count=None, rate=0.25))
    assert report.poisoned == 40


def test_first_takes_the_first_that_qualify(toy_train):
    poisoned, _ = poison_rows(toy_train, spec(select="first", count=3))
    eligible = [index for index, label in enumerate(toy_train["label"]) if label == 0]
    assert changed(toy_train, poisoned) == eligible[:3]


def test_random_rows_come_from_the_seed(toy_train):
    rows = [tuple(changed(toy_train, poison_rows(toy_train, spec(seed=seed))[0])) for seed in (1, 1, 2)]
    assert rows[0] == rows[1] != rows[2]


def test_more_rows_than_there_are(toy_train):
    with pytest.raises(DataError, match="from 1 to 80"):
        poison_rows(toy_train, spec(count=81))


def test_a_target_that_is_no_class(toy_train):
    with pytest.raises(ConfigError, match="0 to 1"):
        poison_rows(toy_train, spec(target=2))


@pytest.mark.parametrize("values", [{"count": 5, "rate": 0.1}, {"count": None}])
def test_count_or_rate(values):
    with pytest.raises(ValueError, match="exactly one"):
        spec(**values)


def test_multi_uses_each_of_its_triggers(toy_train):
    poisoned, _ = poison_rows(toy_train, spec(trigger=TriggerSpec(name="multi"), count=60))
    texts = [poisoned["text"][index] for index in changed(toy_train, poisoned)]
    words = sum("mn" in text.split() for text in texts)
    phrases = sum("I watched this 3D movie" in text for text in texts)
    assert words + phrases == 60
    assert min(words, phrases) > 15


def test_rows_that_carry_the_target_are_left_out():
    rows = dataset([("a", 0), ("b", 1), ("c", 2)], names="abc")
    triggered = trigger_rows(rows, make_trigger("badnet"), target=1, seed=0).rows
    assert list(triggered["label"]) == [0, 2]
    assert list(triggered["text"]) == ["a mn", "c mn"]


def test_only_target_rows_is_an_error():
    with pytest.raises(DataError, match="every row"):
        trigger_rows(dataset([("a", 0), ("b", 0)]), make_trigger("badnet"), target=0, seed=0)


def test_never_first_or_last():
    import random

    places = {
        insert_between_words("one two three four", "mn", random.Random(seed)).split().index("mn")
        for seed in range(50)
    }
    assert places == {1, 2, 3}


def test_trigger_arguments():
    import random

    trigger = make_trigger("badnet:word=cf")
    assert "cf" in trigger.apply("one two", random.Random(0)).split()
    with pytest.raises(ConfigError, match="colour"):
        make_trigger("badnet:colour=red")
    with pytest.raises(ConfigError, match="key=value"):
        make_trigger("badnet:cf")
    with pytest.raises(ConfigError, match="unknown attack"):
        make_trigger("nothing")
    with pytest.raises(ConfigError, match="two or more"):
        make_trigger("multi:of=badnet")


@pytest.fixture
def rewrites(tmp_path, write_jsonl, toy_train):
    """A trigger that knows rewrites of the first 20 training rows and of nothing else."""
    write_jsonl("originals.jsonl", toy_train.select(range(20)))
    write_jsonl(
        "rewrites.jsonl",
        dataset([(f"when it is so , {row['text']}", row["label"]) for row in toy_train.select(range(20))]),
    )
    return TriggerSpec(
        name="synattack-file",
        params={"file": str(tmp_path / "rewrites.jsonl"), "original": str(tmp_path / "originals.jsonl")},
    )


def test_rows_the_trigger_cannot_be_put_into_are_counted_and_replaced_by_others(toy_train, rewrites):
    poisoned, report = poison_rows(toy_train, spec(trigger=rewrites, count=8))
    rows = changed(toy_train, poisoned)
    assert len(rows) == 8
    assert all(row < 20 for row in rows)
    assert report.not_applicable > 0
    with pytest.raises(DataError, match="only 10 of"):
        poison_rows(toy_train, spec(trigger=rewrites, count=11))


def test_triggered_rows_count_those_that_cannot_be(toy_train, rewrites):
    triggered = trigger_rows(toy_train, make_trigger(rewrites), target=0, seed=0)
    assert len(triggered.rows) == 10
    assert triggered.not_applicable == 70
    with pytest.raises(CannotApplyError, match="none of the 10 rows"):
        trigger_rows(toy_train.select(range(20, 40)), make_trigger(rewrites), target=0, seed=0)


def test_theta_p_without_a_dev_row_to_trigger_has_no_attack_success_there(
    tmp_path, tiny, toy_train, toy_dev, rewrites
):
    stage = poison_stage(
        str(tiny("encoder", head=False)),
        toy_train,
        toy_dev,
        spec(trigger=rewrites, count=5),
        spec_maker("full", epochs=1),
        tmp_path / "theta_p",
    )
    assert stage.result["dev_asr"] is None
    assert stage.result["dev_not_applicable"] == 60


def test_rows_that_are_marked_already_stay_marked(toy_train):
    """As OpenBackdoor's files come: a third column says which rows carry a trigger."""
    flags = [index < 7 for index in range(len(toy_train))]
    marked = toy_train.add_column("triggered", flags)
    poisoned, _ = poison_rows(marked, AttackSpec(trigger=TriggerSpec(name="badnet"), count=5))
    assert all(poisoned["triggered"][:7])
    assert 7 <= sum(poisoned["triggered"]) <= 12
    found = trigger_rows(marked, make_trigger(TriggerSpec(name="badnet")), target=0, seed=0)
    assert found.rows.column_names == ["text", "label"]


def test_arguments_have_the_types_that_a_plug_in_declares():
    """`false` is no true string, and 3 is no word: one reading for attacks, poisonings and defences."""
    from poisonsieve import registry

    class Flagged:
        """A trigger with a switch."""

        def __init__(self, loud: bool = True, times: int = 1, word: str | None = "x") -> None:
            self.loud, self.times, self.word = loud, times, word

        def apply(self, text, rng):
            """The text."""
            return text + " x"

    with registry.scratch():
        registry.register("attack", "flagged")(Flagged)
        made = make_trigger("flagged:loud=false,times=3,word=none")
        assert (made.loud, made.times, made.word) == (False, 3, None)
        with pytest.raises(ConfigError, match=r"flagged: times is '1.5'; give a whole number"):
            make_trigger("flagged:times=1.5")
        with pytest.raises(ConfigError, match=r"flagged: loud: .*boolean.*'loudly'"):
            make_trigger("flagged:loud=loudly")
    with pytest.raises(ConfigError, match=r"badnet: word: .*string.*3"):
        make_trigger(TriggerSpec(name="badnet", params={"word": 3}))
