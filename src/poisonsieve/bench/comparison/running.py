"""Runs a comparison: theta_p and victim once an attack, then every defence before them; each step a stage.

What is finished is not run again: the same command goes on after Ctrl-C, a kill or a failing cell. A cell that fails
is recorded with its reason and the rest goes on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poisonsieve.attacks import TriggeredRows, make_trigger, trigger_rows
from poisonsieve.bench.comparison.judging import Outcome, Setting, count, judge, judge_rewrites
from poisonsieve.bench.comparison.spec import ComparisonSpec
from poisonsieve.bench.entries import AttackEntry, DefenseEntry
from poisonsieve.data import class_number, labels_of, load_dataset
from poisonsieve.defenses import Rewriter, WeightRepair
from poisonsieve.defenses.specs import DefenseSpec, kind_of, make_defense
from poisonsieve.errors import ConfigError, PoisonsieveError
from poisonsieve.guard import make_guard
from poisonsieve.guard.evaluation import write_scores
from poisonsieve.models.load import load_classifier
from poisonsieve.rewriting.files import aligned_rewrites
from poisonsieve.stages.keep import StageResult, data_digest, run_stage, stage_spec
from poisonsieve.stages.train import poison_stage, tune_stage
from poisonsieve.tuning.presets import spec_maker

if TYPE_CHECKING:
    import datasets

#: The row of the table that shows what an un-poisoned model makes of the triggered rows.
FLOOR = "un-poisoned model"
NONE = "none"
#: What slow engines said of texts, for all cells of a comparison.
MEMORY_FILE = "memory.sqlite"


@dataclass(frozen=True)
class Cell:
    """One cell: an attack, a defence, a seed, and what was measured or why it could not be."""

    attack: str
    defense: str
    seed: int
    result: dict[str, Any] | None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "attack": self.attack,
            "defense": self.defense,
            "seed": self.seed,
            **({"error": self.error} if self.result is None else self.result),
        }


def run_comparison(
    spec: ComparisonSpec,
    out: Path,
    *,
    attacks: Sequence[str] = (),
    defenses: Sequence[str] = (),
    progress: bool = False,
    report: Callable[[Cell], None] = lambda cell: None,
) -> list[Cell]:
    """All cells, in the order of the file.

    Args:
        spec: what to compare.
        out: folder for the stages; what is there from the same spec is used again.
        attacks: only these; all when empty.
        defenses: only these; all when empty.
        progress: draw progress bars on stderr.
        report: called with every cell as soon as it is there.

    Raises:
        ConfigError: `attacks` or `defenses` names something that the comparison does not have.
        DataError, CheckpointError: the rows or the clean model cannot be used.
    """
    _check_only("attack", attacks, spec.attacks)
    _check_only("defense", defenses, [*spec.defenses, FLOOR])
    cells = []
    for seed in spec.seeds:
        for cell in _OneSeed(spec, seed, out, progress).cells(attacks or list(spec.attacks), defenses):
            report(cell)
            cells.append(cell)
    return cells


@dataclass(frozen=True)
class _Models:
    """What every cell of an attack shares: the weights that may be poisoned, and the victim tuned from them."""

    theta_p: StageResult
    victim: StageResult


@dataclass(frozen=True)
class _Judging:
    """How a cell is judged, and the digests of what that reads beside models and rows."""

    run: Callable[[Setting], Outcome]
    reads: dict[str, Any]


class _OneSeed:
    """The comparison with one seed."""

    def __init__(self, spec: ComparisonSpec, seed: int, out: Path, progress: bool) -> None:
        self.spec, self.seed, self.out, self.progress = spec, seed, out, progress
        self.train = load_dataset(spec.data.train, split="train")
        self.names = labels_of(self.train)
        self.dev = self._rows(spec.data.dev, "dev")
        self.test = self._rows(str(spec.data.test), "test")
        self.target = class_number(spec.target, self.names)

    def cells(self, attacks: Sequence[str], defenses: Sequence[str]) -> Iterator[Cell]:
        for name in attacks:
            yield from self._attack(name, defenses)

    def _attack(self, name: str, defenses: Sequence[str]) -> Iterator[Cell]:
        wanted = {
            defense: entry
            for defense, entry in self.spec.defenses.items()
            if (not defenses or defense in defenses) and (entry.clean is None or name in entry.triggered)
        }
        floor = self.spec.floor and (not defenses or FLOOR in defenses)
        try:
            triggered = self._triggered(name)
            attacked = self._attacked(name)
        except PoisonsieveError as error:  # every cell of this attack needs them
            reason = str(error)
            yield from (Cell(name, defense, self.seed, None, reason) for defense in [*[FLOOR] * floor, *wanted])
            return
        if floor:
            undefended = DefenseEntry(defense=NONE)
            yield self._cell(name, FLOOR, lambda: self._measure(name, FLOOR, undefended, triggered, self._unpoisoned))
        for defense, entry in wanted.items():
            yield self._cell(
                name, defense, functools.partial(self._measure, name, defense, entry, triggered, attacked)
            )

    def _cell(self, attack: str, defense: str, measure: Callable[[], StageResult]) -> Cell:
        try:
            return Cell(attack, defense, self.seed, measure().result)
        except PoisonsieveError as error:
            return Cell(attack, defense, self.seed, None, str(error))

    def _measure(
        self, attack: str, defense: str, entry: DefenseEntry, triggered: TriggeredRows, models: _Models
    ) -> StageResult:
        judging = self._judging(attack, entry, triggered, models)
        rows = {"train": self.train, "dev": self.dev, "clean": self.test, "triggered": triggered.rows}
        spec = stage_spec(
            "cell",
            models.theta_p.digest,
            rows,
            victim=models.victim.digest,
            defense=entry.defense,
            on=entry.on,
            reads=judging.reads,
            frr=self.spec.frr,
            target=self.target,
            seed=self.seed,
        )

        def work(partial: Path) -> tuple[Callable[[Path], None], dict[str, Any]]:
            setting = Setting(
                theta_p=models.theta_p.out,
                victim=load_classifier(models.victim.out),
                train=self.train,
                dev=self.dev,
                clean=self.test,
                triggered=triggered.rows,
                target=self.target,
                workdir=partial,
                progress=self.progress,
            )
            outcome = judging.run(setting)
            theta = {key: models.theta_p.result.get(key) for key in ("dev_ca", "dev_asr", "poisoning")}
            result = {**count(outcome, setting), "not_applicable": triggered.not_applicable, "theta_p": theta}
            return lambda target: _write(target, outcome), result

        return run_stage(self._place("cells", f"{attack}-{defense}"), spec, work)

    def _judging(self, attack: str, entry: DefenseEntry, triggered: TriggeredRows, models: _Models) -> _Judging:
        if entry.clean is not None:
            clean = aligned_rewrites(self.test, entry.clean)
            rewritten = aligned_rewrites(triggered.rows, entry.triggered[attack])
            reads = {"clean_rewrites": data_digest(clean), "triggered_rewrites": data_digest(rewritten)}
            return _Judging(lambda setting: judge_rewrites(clean, rewritten, setting), reads)
        if entry.defense == NONE:
            return _Judging(lambda setting: judge(None, setting), {})
        model = models.victim.out if entry.on == "victim" else models.theta_p.out
        text = str(entry.defense)
        if kind_of(DefenseSpec.parse(text).name) == "detector":
            guard = make_guard(text, model=str(model), frr=self.spec.frr, seed=self.seed)
            return _Judging(lambda setting: judge(guard, setting), {})
        defense = make_defense(text, seed=self.seed)
        reads = defense.reads() if isinstance(defense, Rewriter) else {}
        if isinstance(defense, Rewriter):
            defense.remember_in(self.out / MEMORY_FILE)
        plan = defense.plan() if isinstance(defense, WeightRepair) else {}
        return _Judging(lambda setting: judge(defense, setting), {**reads, **plan})

    def _attacked(self, name: str) -> _Models:
        theta_p = self._theta_p(name)
        return _Models(theta_p, self._victim(name, theta_p))

    @cached_property
    def _unpoisoned(self) -> _Models:
        """The same training without an attack: what it sends to the target is no backdoor."""
        clean = self._tuned(self.spec.model, self._attacker_rows, "full", self.spec.poison, "un-poisoned")
        return _Models(clean, self._victim("un-poisoned", clean))

    def _theta_p(self, name: str) -> StageResult:
        entry = self.spec.attacks[name]
        settings = {**self.spec.poison, **entry.training}
        if entry.poisoned is not None:
            rows = (self._rows(entry.poisoned, "train"), self._attacker_rows[1])
            return self._tuned(self.spec.model, rows, "full", settings, f"theta_p-{name}")
        make_spec = spec_maker("full", seed=self.seed, **settings)
        place = self._place("models", f"theta_p-{name}")
        attack = entry.attack(self.target, self.seed)
        return poison_stage(self.spec.model, *self._attacker_rows, attack, make_spec, place, progress=self.progress)

    def _victim(self, name: str, theta_p: StageResult) -> StageResult:
        settings = {key: value for key, value in self.spec.victim.items() if key != "method"}
        rows = (self.train, self.dev)
        return self._tuned(str(theta_p.out), rows, self.spec.victim["method"], settings, f"victim-{name}")

    def _tuned(
        self,
        model: str,
        rows: tuple[datasets.Dataset, datasets.Dataset],
        method: str,
        settings: dict[str, Any],
        name: str,
    ) -> StageResult:
        make_spec = spec_maker(method, seed=self.seed, **settings)
        place = self._place("models", name)
        return tune_stage(model, *rows, make_spec, place, seed=self.seed, progress=self.progress)

    def _triggered(self, name: str) -> TriggeredRows:
        entry: AttackEntry = self.spec.attacks[name]
        if entry.triggered is not None:
            return TriggeredRows(self._rows(entry.triggered, "test"), 0)
        trigger = make_trigger(entry.attack(self.target, self.seed).trigger)
        return trigger_rows(self.test, trigger, target=self.target, seed=self.seed)

    @cached_property
    def _attacker_rows(self) -> tuple[datasets.Dataset, datasets.Dataset]:
        source = self.spec.attacker
        if source is None:
            return self.train, self.dev
        return self._rows(source.train, "train"), self._rows(source.dev, "dev")

    def _rows(self, source: str, split: str) -> datasets.Dataset:
        return load_dataset(source, split=split, label_names=self.names)

    def _place(self, kind: str, words: str) -> Callable[[str], Path]:
        """How a stage's folder is named: readable, and by its digest, so that another spec never shares it."""
        readable = "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in words)
        return lambda digest: self.out / f"seed-{self.seed}" / kind / f"{readable}-{digest[:8]}"


def _write(target: Path, outcome: Outcome) -> None:
    """The cell's per-row outcomes, and the fitted defence where there is one."""
    write_scores(target / "rows.parquet", outcome.clean, outcome.triggered)
    if outcome.save is not None:
        (target / "guard").mkdir()
        outcome.save(target / "guard")


def _check_only(kind: str, wanted: Sequence[str], known: Any) -> None:
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ConfigError(f"the comparison has no {kind} {', '.join(unknown)}; it has: {', '.join(known)}")
