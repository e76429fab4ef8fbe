"""The goal: how many attacks that took does a defence bring to where nobody attacked, and at what price?

A cell is within the goal when its excess ASR is at most one point and it costs at most one point of CA. The excess is the
guarded ASR less the floor: what an un-poisoned victim, tuned by the same method from the same clean model, sends to the
target on the same triggered rows. Below the floor counts as on it. An attack that did not take (theta_p's ASR on its own
dev rows below the paper's 95%) has nothing to show, and stands outside of the share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from poisonsieve.bench.entries import NONE

#: The most that a defence may leave above the floor, and the most CA that it may cost.
MOST_EXCESS = MOST_LOST = 0.01
_RESAMPLES = 2000
_ROUNDING = 1e-9  # rates are quotients of row counts: 0.91 - 0.90 is not above 0.01


@dataclass(frozen=True)
class Judged:
    """One cell with a defence, measured against the goal. Rates are shares, not per cent.

    Attributes:
        dataset, model, attack, defense, victim, seed: where it stands; `defense` with its variant, where it has some.
        family, labels, classes: the attack's trigger family and label mode, and how many classes the task has.
        dev_asr: theta_p's ASR on the attacker's dev rows; None where nobody measured it.
        took: whether that was enough for an attack; see `poisonsieve.bench.results.TOOK`.
        asr, floor: guarded, and of the un-poisoned victim.
        ca_lost: the undefended victim's CA less the guarded one's. Negative where a defence gains.
    """

    dataset: str
    model: str
    attack: str
    defense: str
    victim: str
    seed: int
    family: str
    labels: str
    classes: int
    dev_asr: float | None
    took: bool
    asr: float
    floor: float
    ca_lost: float

    @property
    def excess(self) -> float:
        """Guarded ASR above the floor, never below 0."""
        return max(0.0, self.asr - self.floor)

    @property
    def reached(self) -> bool:
        """Whether the cell is within the goal."""
        return self.excess <= MOST_EXCESS + _ROUNDING and self.ca_lost <= MOST_LOST + _ROUNDING


@dataclass(frozen=True)
class Share:
    """The share of cells within the goal.

    Attributes:
        group: whose: a defence, or a defence in one part of the grid.
        share: None of no cell.
        low, high: 95% bootstrap interval over attacks and seeds; see `share_of`.
        cells: how many cells that took.
        excess, ca_lost: their means.
    """

    group: tuple[str, ...]
    share: float | None
    low: float | None
    high: float | None
    cells: int
    excess: float | None
    ca_lost: float | None


@dataclass(frozen=True)
class Goal:
    """A grid held against the goal.

    Attributes:
        defenses: the headline: one share a defence.
        parts: shares by ``family``, ``labels``, ``classes``, ``model``, ``dataset``, ``victim``.
        not_taken: the attacks that did not take, with theta_p's ASR: dataset, model, attack, seed, ASR.
        without_floor: how many finished cells have no un-poisoned victim beside them, and so are not counted.
    """

    defenses: list[Share]
    parts: dict[str, list[Share]]
    not_taken: list[dict[str, Any]]
    without_floor: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


PARTS: dict[str, Callable[[Judged], str]] = {
    "family": lambda cell: cell.family,
    "labels": lambda cell: cell.labels,
    "classes": lambda cell: str(cell.classes),
    "model": lambda cell: cell.model,
    "dataset": lambda cell: cell.dataset,
    "victim": lambda cell: cell.victim,
}


def goal_of(records: Sequence[dict[str, Any]], *, seed: int = 0) -> Goal:
    """Hold results against the goal.

    Args:
        records: results files, as `poisonsieve.bench.results.read_results` gives them.
        seed: of the bootstrap.
    """
    judged, missing = [], 0
    for record in records:
        found, without = judged_cells(record)
        judged += found
        missing += without
    took = [cell for cell in judged if cell.took]
    defenses = list(dict.fromkeys(cell.defense for cell in took))
    return Goal(
        defenses=[share_of((name,), [c for c in took if c.defense == name], seed=seed) for name in defenses],
        parts={
            part: [
                share_of((name, value), [c for c in took if c.defense == name and of(c) == value], seed=seed)
                for name in defenses
                for value in sorted({of(cell) for cell in took if cell.defense == name})
            ]
            for part, of in PARTS.items()
        },
        not_taken=_not_taken(judged),
        without_floor=missing,
    )


def share_of(group: tuple[str, ...], cells: Sequence[Judged], *, seed: int = 0) -> Share:
    """The share of `cells` within the goal, with its interval.

    The bootstrap draws poisoned models, not cells: the victims of one theta_p stand or fall together. Attacks (a data
    set, model and attack) are drawn with replacement, then the seeds of each.
    """
    if not cells:
        return Share(group, None, None, None, 0, None, None)
    attacks: dict[tuple[str, ...], dict[int, list[bool]]] = {}
    for cell in cells:
        seeds = attacks.setdefault((cell.dataset, cell.model, cell.attack), {})
        seeds.setdefault(cell.seed, []).append(cell.reached)
    # (attack, seed) -> how many cells, and how many of them within the goal
    counts = [np.array([(len(found), sum(found)) for found in seeds.values()]) for seeds in attacks.values()]
    rng = np.random.default_rng(seed)
    shares = np.array([_resampled(counts, rng) for _ in range(_RESAMPLES)])
    low, high = np.quantile(shares, [0.025, 0.975])
    return Share(
        group,
        float(np.mean([cell.reached for cell in cells])),
        float(low),
        float(high),
        len(cells),
        float(np.mean([cell.excess for cell in cells])),
        float(np.mean([cell.ca_lost for cell in cells])),
    )


def _resampled(counts: Sequence[np.ndarray], rng: np.random.Generator) -> float:
    drawn = [counts[index] for index in rng.integers(len(counts), size=len(counts))]
    rows = np.concatenate([seeds[rng.integers(len(seeds), size=len(seeds))] for seeds in drawn])
    cells, reached = rows.sum(axis=0)
    return float(reached / cells)


def judged_cells(record: dict[str, Any]) -> tuple[list[Judged], int]:
    """The finished cells of one results file that have a defence, an attack and a floor; and how many lack the floor."""
    grid, cells = record["grid"], [cell for cell in record["cells"] if cell["status"] == "done"]
    floors = {
        _place(cell): cell["metrics"].get("floor", {})
        for cell in cells
        if cell["defense"] == NONE and grid["attacks"][cell["attack"]]["clean"]
    }
    judged, missing = [], 0
    for cell in cells:
        attack = grid["attacks"][cell["attack"]]
        attack = {**attack, **((attack.get("datasets") or {}).get(cell["dataset"]) or {})}
        if cell["defense"] == NONE or attack["clean"]:
            continue
        floor = floors.get(_place(cell), {}).get(cell["attack"])
        if floor is None or "accuracy_lost" not in cell["metrics"]:
            missing += 1
            continue
        judged.append(_judged(cell, attack, floor))
    return judged, missing


def _judged(cell: dict[str, Any], attack: dict[str, Any], floor: float) -> Judged:
    metrics, variant, theta_p = cell["metrics"], cell["variant"], cell["theta_p"]
    answers = next(stage["result"] for stage in cell["stages"] if stage["kind"] == "answers")
    return Judged(
        dataset=cell["dataset"],
        model=cell["model"],
        attack=cell["attack"],
        defense=f"{cell['defense']} ({variant})" if variant else cell["defense"],
        victim=cell["victim"],
        seed=cell["seed"],
        family=attack.get("family") or cell["attack"],
        labels=_labels(attack),
        classes=len(answers["classes"]),
        dev_asr=theta_p["dev_asr"],
        took=bool(theta_p["took"]),
        asr=metrics["asr"],
        floor=floor,
        ca_lost=metrics["accuracy_lost"]["value"],
    )


def _labels(attack: dict[str, Any]) -> str:
    """The label mode of an attack: ``smoothed`` says more of an attack than whose labels were smoothed."""
    if (attack.get("poisoning") or "").partition(":")[0] == "low-confidence":
        return "smoothed"
    return "clean-label" if attack["clean_label"] else "dirty-label"


def _place(cell: dict[str, Any]) -> tuple[Any, ...]:
    return cell["dataset"], cell["model"], cell["victim"], cell["seed"]


def _not_taken(cells: Iterable[Judged]) -> list[dict[str, Any]]:
    found = {(cell.dataset, cell.model, cell.attack, cell.seed): cell.dev_asr for cell in cells if not cell.took}
    return [
        dict(zip(("dataset", "model", "attack", "seed", "dev_asr"), (*key, asr), strict=True))
        for key, asr in found.items()
    ]
