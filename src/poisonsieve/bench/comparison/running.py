"""Runs a comparison: theta_p and victim once an attack, then every defence before them; each step a stage.

What is finished is not run again: the same command goes on after Ctrl-C, a kill or a failing cell. A cell that fails
is recorded with its reason and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poisonsieve.attacks import TriggeredRows, make_trigger, trigger_rows
from poisonsieve.bench.comparison.judging import Outcome, Setting, count, judge, judge_rewrites
from poisonsieve.bench.comparison.spec import AttackEntry, ComparisonSpec, DefenseEntry
from poisonsieve.bench.stages import StageResult, data_digest, poison_stage, run_stage, tune_stage
from poisonsieve.data import class_number, labels_of, load_dataset
from poisonsieve.errors import ConfigError, PoisonsieveError
from poisonsieve.models.load import load_classifier
from poisonsieve.storage import canonical_hash
from poisonsieve.tuning.presets import spec_maker

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier

#: The row of the table that shows what an un-poisoned model makes of the triggered rows.
FLOOR = "un-poisoned model"
NONE = "none"


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
        wanted = [
            defense
            for defense, entry in self.spec.defenses.items()
            if (not defenses or defense in defenses) and (entry.clean is None or name in entry.triggered)
        ]
        floor = self.spec.floor and (not defenses or FLOOR in defenses)
        try:
            triggered = self._triggered(name)
            theta_p = self._theta_p(name)
            victim = self._victim(name, theta_p)
        except PoisonsieveError as error:  # every cell of this attack needs them
            reason = str(error)
            yield from (Cell(name, defense, self.seed, None, reason) for defense in [*[FLOOR] * floor, *wanted])
            return
        if floor:
            yield self._cell(name, FLOOR, lambda: self._floor(name, triggered))
        opened = load_classifier(victim.out)
        for defense in wanted:
            measure = self._measure(name, defense, triggered, theta_p, victim, opened)
            yield self._cell(name, defense, measure)

    def _cell(self, attack: str, defense: str, measure: Callable[[], StageResult]) -> Cell:
        try:
            return Cell(attack, defense, self.seed, measure().result)
        except PoisonsieveError as error:
            return Cell(attack, defense, self.seed, None, str(error))

    def _measure(
        self,
        attack: str,
        defense: str,
        triggered: TriggeredRows,
        theta_p: StageResult,
        victim: StageResult,
        opened: Classifier,
    ) -> Callable[[], StageResult]:
        entry = self.spec.defenses[defense]
        spec = {
            "stage": "cell",
            "theta_p": theta_p.digest,
            "victim": victim.digest,
            "train": data_digest(self.train),
            "dev": data_digest(self.dev),
            "clean": data_digest(self.test),
            "triggered": data_digest(triggered.rows),
            "defense": entry.model_dump(mode="json"),
            "frr": self.spec.frr,
            "target": self.target,
            "seed": self.seed,
        }

        def work(partial: Path) -> tuple[Callable[[Path], None], dict[str, Any]]:
            setting = Setting(
                theta_p=theta_p.out,
                victim=opened,
                train=self.train,
                dev=self.dev,
                clean=self.test,
                triggered=triggered.rows,
                target=self.target,
                workdir=partial,
                progress=self.progress,
            )
            outcome = self._outcome(entry, attack, victim.out, setting)
            theta = {key: theta_p.result.get(key) for key in ("dev_ca", "dev_asr", "poisoning")}
            result = {**count(outcome, setting), "not_applicable": triggered.not_applicable, "theta_p": theta}
            return lambda target: _write(target, outcome, setting), result

        return lambda: run_stage(self._folder("cells", attack, defense, spec), spec, work)

    def _outcome(self, entry: DefenseEntry, attack: str, victim: Path, setting: Setting) -> Outcome:
        from poisonsieve.defenses.specs import make_defense

        if entry.clean is not None:
            return self._from_files(entry, attack, setting)
        if entry.defense == NONE:
            return judge(None, setting)
        model = victim if entry.on == "victim" else setting.theta_p
        return judge(make_defense(str(entry.defense), model=str(model), frr=self.spec.frr, seed=self.seed), setting)

    def _from_files(self, entry: DefenseEntry, attack: str, setting: Setting) -> Outcome:
        from poisonsieve.rewriting.files import aligned_rewrites

        clean = aligned_rewrites(setting.clean, Path(str(entry.clean)))
        triggered = aligned_rewrites(setting.triggered, Path(entry.triggered[attack]))
        return judge_rewrites(clean, triggered, setting)

    def _floor(self, attack: str, triggered: TriggeredRows) -> StageResult:
        """The same training without an attack: what it sends to the target is no backdoor."""
        clean_model = self._tuned(self.spec.model, self._attacker_rows, "full", self.spec.poison, "un-poisoned")
        victim = self._victim("un-poisoned", clean_model)
        spec = {
            "stage": "floor",
            "victim": victim.digest,
            "clean": data_digest(self.test),
            "triggered": data_digest(triggered.rows),
            "target": self.target,
        }

        def work(partial: Path) -> tuple[Callable[[Path], None], dict[str, Any]]:
            setting = Setting(
                theta_p=clean_model.out,
                victim=load_classifier(victim.out),
                train=self.train,
                dev=self.dev,
                clean=self.test,
                triggered=triggered.rows,
                target=self.target,
                workdir=partial,
                progress=self.progress,
            )
            outcome = judge(None, setting)
            return lambda target: _write(target, outcome, setting), count(outcome, setting)

        return run_stage(self._folder("cells", attack, FLOOR, spec), spec, work)

    def _theta_p(self, name: str) -> StageResult:
        entry = self.spec.attacks[name]
        settings = {**self.spec.poison, **entry.training}
        if entry.poisoned is not None:
            rows = (self._rows(entry.poisoned, "train"), self._attacker_rows[1])
            return self._tuned(self.spec.model, rows, "full", settings, f"theta_p-{name}")
        train, dev = self._attacker_rows
        attack = entry.attack(self.target, self.seed)
        make_spec = spec_maker("full", seed=self.seed, **settings)
        key = {"entry": entry.model_dump(mode="json"), "data": data_digest(train), "poison": settings}
        out = self._folder("models", f"theta_p-{name}", "", key)
        return poison_stage(self.spec.model, train, dev, attack, make_spec, out, progress=self.progress)

    def _victim(self, name: str, theta_p: StageResult) -> StageResult:
        method = {key: value for key, value in self.spec.victim.items() if key != "method"}
        return self._tuned(
            str(theta_p.out), (self.train, self.dev), self.spec.victim["method"], method, f"victim-{name}"
        )

    def _tuned(
        self,
        model: str,
        rows: tuple[datasets.Dataset, datasets.Dataset],
        method: str,
        settings: dict[str, Any],
        name: str,
    ) -> StageResult:
        make_spec = spec_maker(method, seed=self.seed, **settings)
        key = {"model": Path(model).name, "method": method, "settings": settings, "data": data_digest(rows[0])}
        out = self._folder("models", name, "", key)
        return tune_stage(model, *rows, make_spec, out, seed=self.seed, progress=self.progress)

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

    def _folder(self, kind: str, attack: str, defense: str, key: dict[str, Any]) -> Path:
        """A readable name that another spec never shares."""
        words = "-".join(part for part in (attack, defense) if part)
        readable = "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in words)
        return self.out / f"seed-{self.seed}" / kind / f"{readable}-{canonical_hash(key)[:8]}"


def _write(target: Path, outcome: Outcome, setting: Setting) -> None:
    """The cell's per-row outcomes, and the fitted defence where there is one."""
    import pandas as pd

    parts = {"clean": (setting.clean, outcome.clean), "triggered": (setting.triggered, outcome.triggered)}
    tables = [
        pd.DataFrame(
            {
                "set": name,
                "label": rows["label"],
                "prediction": judged.predictions,
                "rejected": judged.rejected,
                "score": float("nan") if judged.scores is None else judged.scores,
            }
        )
        for name, (rows, judged) in parts.items()
    ]
    pd.concat(tables).to_parquet(target / "rows.parquet", index=False)
    if outcome.save is not None:
        (target / "guard").mkdir()
        outcome.save(target / "guard")


def _check_only(kind: str, wanted: Sequence[str], known: Any) -> None:
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ConfigError(f"the comparison has no {kind} {', '.join(unknown)}; it has: {', '.join(known)}")
