"""Which rows a description gives, what decides a stage's name, and how long a grid is said to take."""

import json
import os
from collections import Counter

import pytest

from conftest import write_grid, write_toy_rows
from poisonsieve.bench.checks import Checked, DefenseFacts, check
from poisonsieve.bench.fingerprints import Fingerprints
from poisonsieve.bench.plan import make_plan
from poisonsieve.bench.rows import Rewritten, Rows, Triggered, load, load_with_skipped, target_of
from poisonsieve.bench.runner import timing_kinds
from poisonsieve.bench.spec import expand, load_grid
from poisonsieve.bench.store import Store
from poisonsieve.progress import TimeLeft

NOTHING = {"defense": "none"}
FACTS = {
    "none": DefenseFacts("none"),
    "psim": DefenseFacts("detector"),
    "onion": DefenseFacts("rewriter", True, ["bar", "max_ca_drop"]),
}
CHECKED = Checked(
    FACTS, {"poisoning full": {}, "attack badnet": {}, "defense psim": {}, "defense onion": {"lm": "smollm2"}}
)


@pytest.fixture
def folder(tmp_path):
    return write_toy_rows(tmp_path)


@pytest.fixture
def test_rows(folder):
    return Rows(source=str(folder / "test.jsonl"), split="test", names=str(folder / "train.jsonl"))


def test_a_limit_draws_each_class_in_its_share_and_always_the_same(test_rows):
    few = test_rows.model_copy(update={"limit": 30})
    assert Counter(load(few)["label"]) == {0: 15, 1: 15}
    assert list(load(few)["text"]) == list(load(few)["text"])
    whole = list(load(test_rows)["text"])
    assert len(whole) == 120
    assert set(load(few)["text"]) <= set(whole)


def test_the_held_out_tenth_and_the_rest_are_all_rows(folder):
    train = Rows(source=str(folder / "train.jsonl"), split="train", part="rest")
    dev = train.model_copy(update={"part": "dev"})
    everything = Rows(source=str(folder / "train.jsonl"), split="train")
    assert (len(load(train)), len(load(dev))) == (108, 12)
    assert sorted([*load(train)["text"], *load(dev)["text"]]) == sorted(load(everything)["text"])


def test_words_are_cut_before_a_trigger_goes_in(test_rows):
    texts = load(test_rows.model_copy(update={"words": 3}))["text"]
    assert max(len(text.split()) for text in texts) == 3


def test_triggered_rows_are_of_other_classes_and_a_limit_is_of_them(test_rows):
    triggered = Triggered(of=test_rows, trigger="badnet", target="0", seed=0)
    rows, skipped = load_with_skipped(triggered)
    assert set(rows["label"]) == {1}
    assert len(rows) + skipped == 60
    assert all("mn" in text.split() for text in rows["text"])
    few = load(triggered.model_copy(update={"limit": 10}))
    assert len(few) == 10
    assert set(few["text"]) <= set(rows["text"])
    assert target_of(test_rows, "1") == 1


def test_rewrites_follow_all_rows_and_are_limited_with_them(test_rows, folder):
    lines = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    rewritten = [json.dumps({**line, "sentence": f"well , {line['sentence']}"}) for line in lines]
    (folder / "rewritten.jsonl").write_text("\n".join(rewritten) + "\n")
    few = test_rows.model_copy(update={"limit": 20})
    found = load(Rewritten(of=few, file=str(folder / "rewritten.jsonl")))
    assert list(found["text"]) == [f"well , {text}" for text in load(few)["text"]]


def stages(folder, store=None, **changes):
    grid = load_grid(write_grid(folder, "hub:a/b", **changes), data_root=folder)
    return make_plan(grid, expand(grid), CHECKED, Fingerprints(folder / "prints.json")).stages


def keys(folder, kind, **changes):
    return {stage.key for stage in stages(folder, **changes) if stage.kind == kind}


def test_what_decides_a_result_decides_its_name_and_nothing_else_does(folder):
    base = {kind: keys(folder, kind) for kind in ("theta_p", "victim", "guard", "scores")}
    for changes in (
        {"threshold": {"gamma": 0.7}},
        {"title": "x"},
        {"resources": {"cpus": 8}},
        {"report_to": "wandb"},
    ):
        assert {kind: keys(folder, kind, **changes) for kind in base} == base
    other = {"full": {"method": "full", "epochs": 2}, "lora": {"method": "lora", "epochs": 1}}
    assert keys(folder, "theta_p", victims=other) == base["theta_p"]
    assert keys(folder, "guard", victims=other) == base["guard"]
    assert len(keys(folder, "victim", victims=other) & base["victim"]) == 2  # LoRA's two
    varied = {"none": {"defense": "none"}, "psim": {"defense": "psim", "vary": {"x": {"method": "lora"}}}}
    assert not keys(folder, "guard", defenses=varied) & base["guard"]
    assert not keys(folder, "theta_p", seeds=[1]) & base["theta_p"]


def test_content_decides_not_the_path(folder, tmp_path):
    base = keys(folder, "scores")
    moved = tmp_path / "moved"
    moved.mkdir()
    for split in ("train", "dev", "test"):
        (moved / f"{split}.jsonl").write_bytes((folder / f"{split}.jsonl").read_bytes())
    assert keys(moved, "scores") == base
    with (moved / "dev.jsonl").open("a") as stream:
        stream.write('{"sentence": "the film was fun", "label": 1}\n')
    assert not keys(moved, "scores") & base


def test_a_file_is_read_again_only_when_it_changed(folder, monkeypatch):
    memory, file = folder / "prints.json", folder / "train.jsonl"
    first = Fingerprints(memory)
    found = [first.of(str(file)), first.of(f"{file}#dev"), first.of("packaged:x"), first.of(str(folder))]
    assert found[0].startswith("sha256:")
    assert found[1] == f"{found[0]}#dev"
    assert found[2] == "packaged:x"
    first.save()
    with monkeypatch.context() as patched:
        patched.setattr("poisonsieve.bench.fingerprints.sha256_file", lambda path: pytest.fail(f"read {path}"))
        assert Fingerprints(memory).of(str(file)) == found[0]
    os.utime(file, ns=(0, 0))
    assert Fingerprints(memory).of(str(file)) == found[0]
    file.write_text(file.read_text() + "\n")
    assert Fingerprints(memory).of(str(file)) != found[0]


def test_rewriting_is_shared_by_all_victims(folder):
    found = stages(folder, defenses={"none": {"defense": "none"}, "onion": {"defense": "onion"}})
    assert Counter(stage.kind for stage in found)["rewriting"] == 3  # clean, triggered and dev rows
    order = [stage.key for stage in found]
    for stage in found:
        assert all(order.index(needed.key) < order.index(stage.key) for needed in stage.needs.values())


def test_the_time_left_is_that_of_stages_alike(folder):
    todo = stages(folder)
    with TimeLeft("grid", "stages", {stage.key: timing_kinds(stage) for stage in todo}, shown=False) as left:
        assert left.seconds() is None
        theta_p = [stage for stage in todo if stage.kind == "theta_p"]
        left.finished(theta_p[0].key, 100.0, theta_p[0].title)
        assert left.seconds() == pytest.approx(100 * (len(todo) - 1))
        lora = [stage for stage in todo if stage.title.endswith("lora") and stage.kind == "victim"]
        left.finished(lora[0].key, 10.0, lora[0].title)
        # The other theta_p takes 100, the other three victims 10, and what nothing is known of the mean of both.
        assert left.seconds() == pytest.approx(100 + 3 * 10 + (len(todo) - 6) * 55)


@pytest.fixture
def outside(monkeypatch):
    """A rewriter as a package outside would bring it, with a file, a plain word and a file that it has by default."""
    from pathlib import Path
    from typing import Annotated, ClassVar

    from poisonsieve import registry
    from poisonsieve.config import ByContent
    from poisonsieve.defenses import Rewriter

    class DropListed(Rewriter):
        name: ClassVar[str] = "drop-listed"

        def __init__(
            self,
            words: Annotated[Path, ByContent],
            mark: str = "",
            more: Annotated[Path, ByContent] | None = Path("more.txt"),
        ) -> None:
            self.words, self.mark, self.more = words, mark, more

        def _rewrite(self, texts, *, progress):
            return texts

    entries = registry._entries["defense"]
    registry.get("defense", "msp")  # everything else is there
    monkeypatch.setitem(entries, "drop-listed", DropListed)
    DropListed.__init__.__annotations__.update(words=Annotated[Path, ByContent])
    return DropListed


def rewriting_keys(folder, options):
    listed = {"defense": "drop-listed", "vary": {"a": options}}
    defenses = {"none": {"defense": "none"}, "listed": listed}
    grid = load_grid(write_grid(folder, "hub:a/b", defenses=defenses), data_root=folder)
    found = make_plan(grid, expand(grid), check(grid), Fingerprints(folder / "prints.json")).stages
    return {stage.key for stage in found if stage.kind == "rewriting"}


def test_a_path_that_a_plug_in_from_outside_reads_counts_by_its_content(folder, outside, monkeypatch):
    """And nothing else does: a word that happens to be the name of a file is a word."""
    monkeypatch.chdir(folder)
    (folder / "words.txt").write_text("mn\n")
    (folder / "mark").write_text("a file of that name\n")
    base = rewriting_keys(folder, {"words": "words.txt", "mark": "mark"})
    (folder / "moved.txt").write_text("mn\n")
    assert rewriting_keys(folder, {"words": "moved.txt", "mark": "mark"}) == base
    (folder / "mark").write_text("other content\n")
    assert rewriting_keys(folder, {"words": "words.txt", "mark": "mark"}) == base
    assert not rewriting_keys(folder, {"words": "words.txt", "mark": "other"}) & base
    (folder / "more.txt").write_text("cf\n")  # the default is read too
    with_more = rewriting_keys(folder, {"words": "words.txt", "mark": "mark"})
    assert not with_more & base
    (folder / "words.txt").write_text("mn cf\n")
    assert not rewriting_keys(folder, {"words": "words.txt", "mark": "mark"}) & (base | with_more)


def test_what_a_rewriter_prepares_is_shared_by_arguments_that_have_no_say_in_it(folder):
    bars = {"a": {"bar": 0.5}, "b": {"bar": 1.5, "max_ca_drop": 0.1}, "c": {"bar": 0.5, "max_length": 32}}
    grid = load_grid(
        write_grid(folder, "hub:a/b", defenses={"none": NOTHING, "onion": {"defense": "onion", "vary": bars}}),
        data_root=folder,
    )
    grid = grid.model_copy(update={"attacks": {"BadNet": grid.attacks["BadNet"]}})
    found = make_plan(grid, expand(grid), check(grid), Fingerprints(folder / "prints.json")).stages
    assert Counter(stage.kind for stage in found)["rewriting"] == 2 * 3
    assert Counter(stage.kind for stage in found)["answers"] == (1 + 3) * 2


def test_one_thing_under_two_names_is_one_stage(folder):
    attacks = {"one": {"trigger": "badnet", "count": 3}, "other": {"trigger": "badnets", "count": 3}}
    found = stages(folder, attacks=attacks, defenses={"none": {"defense": "none"}})
    assert Counter(stage.kind for stage in found) == {"theta_p": 1, "victim": 2, "answers": 2}
    folders = {str(Store(folder).folder(entry)) for stage in found for entry in stage.chain()}
    assert len(folders) == len(found)
