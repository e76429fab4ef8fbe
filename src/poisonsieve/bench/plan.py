"""From cells to stages: what has to be trained and scored for them, each thing once.

A stage is named by a digest of all that decides its result: its settings, the content of what it reads, and the stages
it stands on. Two cells that need the same poisoned weights, the same victim, the same guard or the same rewrites name
the same stage. No row is read and no model opened to plan, so that looking through a finished grid takes no time.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poisonsieve.bench.cells import CellSpec, is_psim
from poisonsieve.bench.entries import DefenseEntry
from poisonsieve.bench.fingerprints import Fingerprints
from poisonsieve.bench.rows import AnyRows, Rewritten, Rows, Triggered
from poisonsieve.bench.spec import NONE, GridRows, GridSpec
from poisonsieve.storage import canonical_hash

#: Sets of test rows, by what they are called in the scores.
CLEAN, TRIGGERED = "clean", "triggered"
#: Stands for the cell's own clean model in a repair, such as ``fine-mixing:pretrained={model}``.
MODEL_PLACEHOLDER = "{model}"


@dataclass(frozen=True)
class Stage:
    """One step whose result is kept in a folder.

    Attributes:
        kind: what is done; see `poisonsieve.bench.work`.
        words: readable, for file names and progress.
        params: all that is needed to do it, JSON-ready, names and paths as the grid gives them.
        needs: the stages it stands on, by their part in it.
        key: digest of everything that decides the result.
    """

    kind: str
    words: str
    params: dict[str, Any]
    needs: dict[str, Stage] = field(default_factory=dict)
    key: str = ""

    def chain(self) -> Iterator[Stage]:
        """All stages below this one, each before what stands on it, and then this one; some may come again."""
        for stage in self.needs.values():
            yield from stage.chain()
        yield self

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, for another process."""
        needs = {part: stage.to_dict() for part, stage in self.needs.items()}
        return {"kind": self.kind, "words": self.words, "params": self.params, "needs": needs, "key": self.key}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Stage:
        """What `to_dict` made."""
        needs = {part: cls.from_dict(stage) for part, stage in values["needs"].items()}
        return cls(values["kind"], values["words"], values["params"], needs, values["key"])


@dataclass(frozen=True)
class Plan:
    """Cells and what they need.

    Attributes:
        cells: in the grid's order.
        scores: each cell's last stage: its per-row scores.
        stages: every stage once, each after those it stands on.
    """

    cells: list[CellSpec]
    scores: list[Stage]
    stages: list[Stage]


def make_plan(grid: GridSpec, cells: Sequence[CellSpec], kinds: Mapping[str, str], prints: Fingerprints) -> Plan:
    """The stages that `cells` need.

    Args:
        grid: where the cells come from.
        cells: which of them.
        kinds: what kind of defence each entry of `defenses` is: see `poisonsieve.bench.checks`.
        prints: for the content behind names.
    """
    planner = _Planner(grid, kinds, prints)
    scores = [planner.scores(cell) for cell in cells]
    stages = {stage.key: stage for last in scores for stage in last.chain()}
    return Plan(list(cells), scores, list(stages.values()))


class _Planner:
    def __init__(self, grid: GridSpec, kinds: Mapping[str, str], prints: Fingerprints) -> None:
        self.grid, self.kinds, self.prints = grid, kinds, prints
        self.version = importlib.metadata.version("poisonsieve")
        self.print = functools.cache(prints.of)

    def scores(self, cell: CellSpec) -> Stage:
        entry = self.grid.defenses[cell.defense]
        answers = self._answers(cell, entry)
        if self.kinds[cell.defense] != "detector":
            return answers
        guard = self._guard(cell, entry)
        sets = self._test_sets(cell)
        confidences = self._stage(
            "confidences", f"{cell.attack}-{cell.defense}", {"sets": _dump(sets)}, {"guard": guard}
        )
        needs = {"answers": answers, "confidences": confidences, "guard": guard, "victim": answers.needs["victim"]}
        words = f"{cell.attack}-{cell.victim}-{cell.defense}"
        return self._stage("scores", words, {"sets": _dump(sets)}, needs)

    def _answers(self, cell: CellSpec, entry: DefenseEntry) -> Stage:
        """What the victim says of the test rows, rewritten first where the defence rewrites."""
        sets: dict[str, AnyRows] = dict(self._test_sets(cell))
        needs = {"victim": self._victim(cell, entry)}
        words = f"{cell.attack}-{cell.victim}"
        if entry.clean is not None:
            files = {CLEAN: entry.clean, TRIGGERED: entry.triggered.get(cell.attack)}
            rewritten = {name: Rewritten(of=sets[name], file=file) for name, file in files.items() if file}
            return self._stage("answers", f"{words}-{cell.defense}", {"sets": _dump(rewritten)}, needs)
        if self.kinds[cell.defense] != "rewriter":
            return self._stage("answers", words, {"sets": _dump(sets)}, needs)
        _, dev = self._users(cell)
        for name, rows in {**sets, "dev": dev}.items():
            needs[f"work:{name}"] = self._stage(
                "rewriting",
                f"{cell.defense}-{name}" + (f"-{cell.attack}" if name == TRIGGERED else ""),
                {"defense": entry.defense, "seed": cell.seed, "rows": rows.model_dump(mode="json")},
            )
        params = {
            "sets": _dump(sets),
            "defense": entry.defense,
            "seed": cell.seed,
            "dev": dev.model_dump(mode="json"),
        }
        return self._stage("answers", f"{words}-{cell.defense}", params, needs)

    def _guard(self, cell: CellSpec, entry: DefenseEntry) -> Stage:
        train, dev = self._users(cell)
        on = self._victim(cell, entry) if entry.on == "victim" else self._theta_p(cell)
        params = {
            "defense": entry.defense,
            "settings": self.grid.psim[cell.psim] if is_psim(entry) and cell.psim else {},
            "train": train.model_dump(mode="json"),
            "dev": dev.model_dump(mode="json"),
            "seed": cell.seed,
        }
        words = f"{cell.attack}-{cell.defense}" + (f"-{cell.psim}" if cell.psim else "")
        return self._stage("guard", words, params, {"model": on})

    def _victim(self, cell: CellSpec, entry: DefenseEntry) -> Stage:
        train, dev = self._users(cell)
        settings = {
            **self.grid.all_victims()[cell.victim],
            **self.grid.models[cell.model].victims.get(cell.victim, {}),
        }
        params = {
            "train": train.model_dump(mode="json"),
            "dev": dev.model_dump(mode="json"),
            "settings": settings,
            "seed": cell.seed,
        }
        start, words = self._theta_p(cell), f"{cell.attack}-{cell.victim}"
        if self.kinds[cell.defense] == "repair":
            repairing = {key: value for key, value in params.items() if key != "settings"}
            model = self.grid.models[cell.model].model
            repairing["defense"] = str(entry.defense).replace(MODEL_PLACEHOLDER, model)
            start = self._stage("repair", f"{cell.attack}-{cell.defense}", repairing, {"model": start})
            words += f"-{cell.defense}"
        return self._stage("victim", words, params, {"model": start})

    def _theta_p(self, cell: CellSpec) -> Stage:
        model, attack = self.grid.models[cell.model], self.grid.attacks[cell.attack]
        train, dev = self._attackers(cell)
        if attack.poisoned is not None:
            train = train.model_copy(update={"source": attack.poisoned, "part": "all"})
        params = {
            "model": model.model,
            "train": train.model_dump(mode="json"),
            "dev": dev.model_dump(mode="json"),
            "attack": None if attack.clean else attack.model_dump(mode="json", exclude={"defenses", "triggered"}),
            "settings": {**self.grid.poison, **attack.training, **model.poison},
            "target": self.grid.datasets[cell.dataset].target,
            "seed": cell.seed,
        }
        if model.bits is not None:
            params["bits"] = model.bits
        return self._stage("theta_p", f"{cell.model}-{cell.attack}", params)

    def _users(self, cell: CellSpec) -> tuple[Rows, Rows]:
        """The user's train and dev rows."""
        entry = self.grid.datasets[cell.dataset]
        return _train_and_dev(entry.data, None, entry.limits.train, entry.limits.dev)

    def _attackers(self, cell: CellSpec) -> tuple[Rows, Rows]:
        entry = self.grid.datasets[cell.dataset]
        if entry.attacker is None:
            return self._users(cell)
        limits = entry.limits
        train, dev = _train_and_dev(
            entry.attacker, entry.data.train, limits.attacker_train, limits.attacker_dev, limits.attacker_words
        )
        return train, dev

    def _test_sets(self, cell: CellSpec) -> dict[str, Rows | Triggered]:
        """Clean rows and this attack's triggered rows; for un-poisoned weights, those of every attack."""
        limits = self.grid.datasets[cell.dataset].limits
        clean = self._test(cell).model_copy(update={"limit": limits.test})
        if not self.grid.attacks[cell.attack].clean:
            return {CLEAN: clean, TRIGGERED: self._triggered(cell, cell.attack)}
        if cell.defense != NONE:
            return {CLEAN: clean}
        others = [name for name, attack in self.grid.attacks.items() if not attack.clean]
        return {CLEAN: clean, **{f"{TRIGGERED}:{name}": self._triggered(cell, name) for name in others}}

    def _triggered(self, cell: CellSpec, attack: str) -> Triggered:
        dataset, entry = self.grid.datasets[cell.dataset], self.grid.attacks[attack]
        return Triggered(
            of=self._test(cell),
            trigger=None if entry.triggered else entry.trigger,
            file=entry.triggered,
            target=dataset.target,
            seed=cell.seed,
            limit=dataset.limits.triggered,
        )

    def _test(self, cell: CellSpec) -> Rows:
        data = self.grid.datasets[cell.dataset].data
        return Rows(source=str(data.test), split="test", names=data.train)

    def _stage(self, kind: str, words: str, params: dict[str, Any], needs: dict[str, Stage] | None = None) -> Stage:
        needs = needs or {}
        content = {
            "stage": kind,
            "version": self.version,
            "params": _by_content(params, self.print),
            "needs": {part: stage.key for part, stage in needs.items()},
        }
        return Stage(kind, words, params, needs, canonical_hash(content))


#: Keys of params under which a name may stand for a file, a folder or a model.
_NAMES = frozenset({"source", "names", "file", "trigger", "model", "defense", "poisoned"})


def _by_content(value: Any, digest: Any) -> Any:
    """`value` with every name replaced by what stands behind it."""
    if isinstance(value, dict):
        return {
            key: digest(entry) if key in _NAMES and isinstance(entry, str) else _by_content(entry, digest)
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [_by_content(entry, digest) for entry in value]
    return value


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


def _dump(sets: Mapping[str, AnyRows]) -> dict[str, Any]:
    return {name: rows.model_dump(mode="json") for name, rows in sets.items()}
