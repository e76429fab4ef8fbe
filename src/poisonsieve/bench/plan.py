"""Plan the stages that cells need, each of them once.

A stage is identified by a digest of everything that decides its result: its settings, the content it reads, and the
stages it builds on. Two cells that need the same poisoned weights, victim, guard or rewrites share that stage.
Planning reads no rows and opens no model, so that checking a finished grid is quick.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from poisonsieve.bench.checks import Checked
from poisonsieve.bench.entries import AttackEntry, DefenseEntry, GridRows
from poisonsieve.bench.fingerprints import Fingerprints
from poisonsieve.bench.rows import AnyRows, Rewritten, Rows, Triggered
from poisonsieve.bench.spec import CellSpec, GridSpec
from poisonsieve.config import ByContent, DefenseText, Spec, without_arguments
from poisonsieve.content import content_of
from poisonsieve.storage import canonical_hash

#: Names of the sets of test rows in the scores.
CLEAN, TRIGGERED = "clean", "triggered"
#: Stands for the cell's own clean model in a repair, such as ``fine-mixing:pretrained={model}``.
MODEL_PLACEHOLDER = "{model}"
_FORMAT = 2  # version of stage results; part of every key, so that a result of another format is made again


class ThetaP(Spec):
    """The attacker's training; without an attack, the same training on clean or already poisoned rows.

    Attributes:
        model: the clean model.
        bits: see `ModelEntry`.
        train, dev: the attacker's rows.
        attack: the attack, without the settings of its training.
        target: the class the attacker wants, by name or number.
        settings: fields of `TuneSpec`, and `preset`.
        seed: seed of everything random.
    """

    model: Annotated[str, ByContent]
    bits: Literal[4] | None = None
    train: Rows
    dev: Rows
    attack: AttackEntry | None
    target: str
    settings: dict[str, Any]
    seed: int


class Fit(Spec):
    """A defence fitted on the user's rows: a repair of theta_p, or a detector, which also scores `dev`."""

    defense: DefenseText
    train: Rows
    dev: Rows
    seed: int


class Victim(Spec):
    """The user's tuning; `settings` includes its `method`."""

    train: Rows
    dev: Rows
    settings: dict[str, Any]
    seed: int


class Rewriting(Spec):
    """The part of a rewriter's work on texts that does not depend on the victim."""

    defense: DefenseText
    rows: AnyRows
    seed: int


class Answers(Spec):
    """A victim's answers on sets of test rows; with `defense`, on their rewrites, for which it may need `dev`."""

    sets: dict[str, AnyRows]
    defense: DefenseText | None = None
    dev: Rows | None = None
    seed: int = 0


class Scored(Spec):
    """Further work on the same sets of test rows: confidences, shortened answers, scores."""

    sets: dict[str, AnyRows]


@dataclass(frozen=True)
class Stage:
    """One step, whose result is kept in a folder.

    Attributes:
        kind: kind of work; see `poisonsieve.bench.work`.
        title: readable name, for file names and progress.
        params: all parameters of the work, JSON-ready, with names and paths as the grid gives them.
        needs: the stages it builds on, by their role in it.
        key: digest of everything that decides the result.
    """

    kind: str
    title: str
    params: dict[str, Any]
    needs: dict[str, Stage] = field(default_factory=dict)
    key: str = ""

    def chain(self) -> Iterator[Stage]:
        """Yield all stages below this one, each after those it needs, then this one; some may occur repeatedly."""
        for stage in self.needs.values():
            yield from stage.chain()
        yield self

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict for another process."""
        needs = {part: stage.to_dict() for part, stage in self.needs.items()}
        return {"kind": self.kind, "title": self.title, "params": self.params, "needs": needs, "key": self.key}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Stage:
        """Restore a stage from `to_dict`."""
        needs = {part: cls.from_dict(stage) for part, stage in values["needs"].items()}
        return cls(values["kind"], values["title"], values["params"], needs, values["key"])


@dataclass(frozen=True)
class Plan:
    """Cells and the stages they need.

    Attributes:
        cells: cells in the grid's order.
        scores: last stage of each cell, which holds its per-row scores.
        stages: every stage once, each after those it needs.
    """

    cells: list[CellSpec]
    scores: list[Stage]
    stages: list[Stage]


def make_plan(grid: GridSpec, cells: Sequence[CellSpec], checked: Checked, fingerprints: Fingerprints) -> Plan:
    """Plan the stages that `cells` need.

    Args:
        grid: the grid.
        cells: cells of the grid.
        checked: outcome of checking the grid.
        fingerprints: digests of the content that names refer to.
    """
    planner = _Planner(grid, checked, fingerprints)
    scores = [planner.scores(cell) for cell in cells]
    stages = {stage.key: stage for last in scores for stage in last.chain()}
    return Plan(list(cells), scores, list(stages.values()))


class _Planner:
    def __init__(self, grid: GridSpec, checked: Checked, fingerprints: Fingerprints) -> None:
        self.grid, self.checked, self.fingerprints = grid, checked, fingerprints
        self.made: dict[str, Stage] = {}
        self.version = importlib.metadata.version("poisonsieve")

    def scores(self, cell: CellSpec) -> Stage:
        answers = self._answers(cell)
        if self._kind(cell) != "detector":
            return answers
        guard = self._guard(cell)
        scored, title = Scored(sets={**self._test_sets(cell)}), f"{cell.attack}-{cell.victim}-{_defense(cell)}"
        confidences = self._stage("confidences", f"{cell.attack}-{_defense(cell)}", scored, {"guard": guard})
        inputs = {"victim": answers.needs["victim"], "answers": answers, "confidences": confidences}
        shortened = self._stage("shortened", title, scored, inputs)
        needs = {"answers": answers, "confidences": confidences, "shortened": shortened}
        return self._stage("scores", title, scored, needs)

    def _answers(self, cell: CellSpec) -> Stage:
        """The victim's answers on the test rows, rewritten first if the defence rewrites."""
        sets, needs = self._test_sets(cell), {"victim": self._victim(cell)}
        title = f"{cell.attack}-{cell.victim}"
        entry = self._entry(cell)
        if entry.clean is not None:
            files = {CLEAN: entry.clean, TRIGGERED: entry.triggered.get(cell.attack)}
            rewritten = {name: Rewritten(of=sets[name], file=file) for name, file in files.items() if file}
            return self._stage("answers", f"{title}-{cell.defense}", Answers(sets={**rewritten}), needs)
        if self._kind(cell) != "rewriter":
            title = needs["victim"].title
            return self._stage("answers", title, Answers(sets={**sets}), needs)
        learns = self.checked.defenses[cell.defense].learns
        dev = self._users(cell)[1] if learns else None
        needs |= {f"work:{name}": self._rewriting(cell, name, rows) for name, rows in sets.items()}
        if dev is not None:
            needs["work:dev"] = self._rewriting(cell, "dev", dev)
        rewriting = Answers(sets={**sets}, defense=self._text(cell), dev=dev, seed=cell.seed)
        return self._stage("answers", f"{title}-{_defense(cell)}", rewriting, needs)

    def _rewriting(self, cell: CellSpec, name: str, rows: AnyRows) -> Stage:
        """A rewriter's work on one set of rows, shared by all settings that do not affect it."""
        text = without_arguments(self._text(cell), self.checked.defenses[cell.defense].unprepared)
        title = f"{_defense(cell)}-{name}" + (f"-{cell.attack}" if name == TRIGGERED else "")
        return self._stage("rewriting", title, Rewriting(defense=text, rows=rows, seed=cell.seed))

    def _guard(self, cell: CellSpec) -> Stage:
        train, dev = self._users(cell)
        on = self._victim(cell) if self._entry(cell).on == "victim" else self._theta_p(cell)
        guard = Fit(defense=self._text(cell), train=train, dev=dev, seed=cell.seed)
        return self._stage("guard", f"{cell.attack}-{_defense(cell)}", guard, {"model": on})

    def _victim(self, cell: CellSpec) -> Stage:
        train, dev = self._users(cell)
        settings = {
            **self.grid.all_victims()[cell.victim],
            **self.grid.models[cell.model].victims.get(cell.victim, {}),
        }
        victim = Victim(train=train, dev=dev, settings=settings, seed=cell.seed)
        start, title = self._theta_p(cell), f"{cell.attack}-{cell.victim}"
        if self._kind(cell) == "repair":
            start = self._repaired(cell, start)
            title += f"-{_defense(cell)}"
            if not self._entry(cell).retune:
                return start
        return self._stage("victim", title, victim, {"model": start})

    def _repaired(self, cell: CellSpec, theta_p: Stage) -> Stage:
        train, dev = self._users(cell)
        repair = Fit(defense=self._text(cell), train=train, dev=dev, seed=cell.seed)
        return self._stage("repair", f"{cell.attack}-{_defense(cell)}", repair, {"model": theta_p})

    def _theta_p(self, cell: CellSpec) -> Stage:
        model, entry = self.grid.models[cell.model], self.grid.attacks[cell.attack].on(cell.dataset)
        train, dev = self._attackers(cell)
        if entry.poisoned is not None:
            train = train.model_copy(update={"source": entry.poisoned, "part": "all"})
        attack = None
        if entry.trigger is not None:
            attack = AttackEntry(**entry.model_dump(include={*AttackEntry.model_fields} - {"triggered", "training"}))
        theta_p = ThetaP(
            model=model.model,
            bits=model.bits,
            train=train,
            dev=dev,
            attack=attack,
            target=self.grid.datasets[cell.dataset].target,
            settings={**self.grid.poison, **entry.training, **model.poison},
            seed=cell.seed,
        )
        return self._stage("theta_p", f"{cell.model}-{cell.attack}", theta_p)

    def _entry(self, cell: CellSpec) -> DefenseEntry:
        return self.grid.defenses[cell.defense]

    def _kind(self, cell: CellSpec) -> str:
        return self.checked.defenses[cell.defense].kind

    def _text(self, cell: CellSpec) -> str:
        """Return the cell's defence in its text form."""
        return self._entry(cell).text(cell.variant).replace(MODEL_PLACEHOLDER, self.grid.models[cell.model].model)

    def _users(self, cell: CellSpec) -> tuple[Rows, Rows]:
        """Return the user's train and dev rows."""
        entry = self.grid.datasets[cell.dataset]
        return _train_and_dev(entry.data, None, entry.limits.train, entry.limits.dev, entry.limits.words)

    def _attackers(self, cell: CellSpec) -> tuple[Rows, Rows]:
        entry = self.grid.datasets[cell.dataset]
        if entry.attacker is None:
            return self._users(cell)
        limits = entry.limits
        return _train_and_dev(
            entry.attacker, entry.data.train, limits.attacker_train, limits.attacker_dev, limits.attacker_words
        )

    def _test_sets(self, cell: CellSpec) -> dict[str, Rows | Triggered]:
        """Return clean rows and this attack's triggered rows; for un-poisoned weights, those of every attack."""
        limits = self.grid.datasets[cell.dataset].limits
        clean = self._test(cell).model_copy(update={"limit": limits.test})
        if not self.grid.attacks[cell.attack].clean:
            return {CLEAN: clean, TRIGGERED: self._triggered(cell, cell.attack)}
        if self._kind(cell) != "none":
            return {CLEAN: clean}
        floors = self.grid.attacks[cell.attack].floors
        others = [
            name
            for name, attack in self.grid.attacks.items()
            if not attack.clean and self.grid.runs(name, cell.dataset) and (floors is None or name in floors)
        ]
        return {CLEAN: clean, **{f"{TRIGGERED}:{name}": self._triggered(cell, name) for name in others}}

    def _triggered(self, cell: CellSpec, attack: str) -> Triggered:
        dataset, entry = self.grid.datasets[cell.dataset], self.grid.attacks[attack].on(cell.dataset)
        return Triggered(
            of=self._test(cell),
            trigger=None if entry.triggered else entry.trigger,
            file=entry.triggered,
            target=dataset.target,
            seed=cell.seed,
            limit=dataset.limits.triggered,
        )

    def _test(self, cell: CellSpec) -> Rows:
        entry = self.grid.datasets[cell.dataset]
        return Rows(source=str(entry.data.test), split="test", names=entry.data.train, words=entry.limits.words)

    def _stage(self, kind: str, title: str, params: Spec, needs: dict[str, Stage] | None = None) -> Stage:
        needs = needs or {}
        content = {
            "stage": kind,
            "version": self.version,
            "format": _FORMAT,
            "params": content_of(params, self.fingerprints.of, self.checked.read),
            "needs": {part: stage.key for part, stage in needs.items()},
        }
        key = canonical_hash(content)
        if key not in self.made:  # under whatever name it was met first
            self.made[key] = Stage(kind, title, params.model_dump(mode="json"), needs, key)
        return self.made[key]


def _defense(cell: CellSpec) -> str:
    """Return the defence and its variant, for names of stages."""
    return cell.defense + (f"-{cell.variant}" if cell.variant else "")


def _train_and_dev(
    data: GridRows, names: str | None, train_limit: int | None, dev_limit: int | None, words: int | None = None
) -> tuple[Rows, Rows]:
    held_out = data.dev is None
    train = Rows(
        source=data.train,
        split="train",
        names=names,
        words=words,
        limit=train_limit,
        part="rest" if held_out else "all",
    )
    if data.dev is None:
        return train, train.model_copy(update={"limit": dev_limit, "part": "dev"})
    own = data.train if names is None else names
    return train, Rows(source=data.dev, split="dev", names=own, words=words, limit=dev_limit)
