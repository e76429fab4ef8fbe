"""A comparison: attacks x defences on one data set, one model and one victim; a short form of a grid.

It adds its own table to a grid (one row per defence, three columns per attack, and seconds per 1,000 texts), with a
row for an un-poisoned model on the triggered rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from poisonsieve.bench.checks import check
from poisonsieve.bench.entries import (
    NONE,
    AttackEntry,
    DatasetEntry,
    DefenseEntry,
    GridAttack,
    GridRows,
    Limits,
    ModelEntry,
    ThresholdEntry,
)
from poisonsieve.bench.runner import run_grid
from poisonsieve.bench.spec import GridSpec, RunOptions, read_experiment
from poisonsieve.config import Spec, make_spec
from poisonsieve.errors import ConfigError

#: The table's row for an un-poisoned model on the triggered rows.
FLOOR = "un-poisoned model"
#: Names of the grid's only data set, model and victim.
_DATA, _MODEL, _VICTIM = "data", "model", "victim"


class ComparisonSpec(Spec):
    """Attacks x defences on one data set.

    Attributes:
        title, model, target, poison, seeds: as in a grid, see `GridSpec`.
        data, attacker: the user's rows, and the attacker's; None for the user's own (full data knowledge).
        limits: maximum numbers of rows, see `Limits`.
        victim: the user's tuning: its `method`, and fields of `TuneSpec`.
        attacks, defenses: attacks and defences, by their names in the table.
        threshold: the threshold rule of every detector.
        floor: also train an un-poisoned model, to measure how many triggered rows get the target label anyway.
    """

    title: str
    model: str
    data: GridRows
    attacker: GridRows | None = None
    limits: Limits = Limits()
    target: str = "0"
    poison: dict[str, Any] = Field(default_factory=dict)
    victim: dict[str, Any]
    attacks: dict[str, AttackEntry] = Field(min_length=1)
    defenses: dict[str, DefenseEntry] = Field(min_length=1)
    threshold: ThresholdEntry = ThresholdEntry(frr_mean=0.01)
    floor: bool = True
    seeds: list[int] = Field(default=[0], min_length=1)

    @model_validator(mode="after")
    def _has_test_rows(self) -> Self:
        if self.data.test is None:
            raise ValueError("data.test is missing; name rows to evaluate on")
        return self

    def only(self, attacks: Sequence[str], defenses: Sequence[str]) -> Self:
        """Return a comparison of these attacks and table rows alone; all of them if empty.

        Raises:
            ConfigError: there is no such attack or defence.
        """
        _require_known("attack", attacks, self.attacks)
        _require_known("defense", defenses, [*self.defenses, FLOOR])
        kept = {name: entry for name, entry in self.attacks.items() if not attacks or name in attacks}
        rows = {}
        for name, entry in self.defenses.items():
            if not defenses or name in defenses:
                files = {attack: file for attack, file in entry.triggered.items() if attack in kept}
                rows[name] = entry.model_copy(update={"triggered": files})
        floor = self.floor and (not defenses or FLOOR in defenses)
        return self.model_copy(update={"attacks": kept, "defenses": rows, "floor": floor})

    def grid(self) -> GridSpec:
        """Return the comparison as a grid; a repaired model is a victim, and each attack has an un-poisoned floor.

        Raises:
            ConfigError: one part of it uses a name that another does not define.
        """
        undefended = next((name for name, entry in self.defenses.items() if entry.defense == NONE), FLOOR)
        defenses = {name: entry.model_copy(update={"retune": False}) for name, entry in self.defenses.items()}
        attacks = {
            name: GridAttack(**entry.model_dump(), defenses=[*self.defenses]) for name, entry in self.attacks.items()
        }
        if self.floor:
            defenses.setdefault(undefended, DefenseEntry(defense=NONE))
            attacks |= {
                _floor(name): GridAttack(clean=True, floors=[name], defenses=[undefended]) for name in self.attacks
            }
        knowledge = "full_data" if self.attacker is None else "full_task"
        dataset = DatasetEntry(
            setting=knowledge, data=self.data, attacker=self.attacker, target=self.target, limits=self.limits
        )
        return make_spec(
            GridSpec,
            title=self.title,
            datasets={_DATA: dataset},
            models={_MODEL: ModelEntry(model=self.model)},
            attacks=attacks,
            defenses=defenses,
            victims={_VICTIM: self.victim},
            poison=self.poison,
            threshold=self.threshold,
            seeds=self.seeds,
        )


def load_comparison(path: Path, data_root: Path | None = None, *, scale: str | None = None) -> ComparisonSpec:
    """Read and check a comparison file at one scale; see `read_experiment`.

    Raises:
        ConfigError: the file cannot be read, has no such scale, needs a data root, or has an unknown key or name.
    """

    def checked(content: dict[str, Any]) -> ComparisonSpec:
        spec = make_spec(ComparisonSpec, **content)
        check(spec.grid())
        return spec

    wanted = "comparison; it must be a YAML mapping with the keys data, attacks, ..."
    return read_experiment(path, wanted, scale, data_root, checked)


def run_comparison(
    spec: ComparisonSpec,
    out: Path,
    *,
    attacks: Sequence[str] = (),
    defenses: Sequence[str] = (),
    progress: bool = False,
    report: Callable[[dict[str, Any]], None] = lambda cell: None,
) -> list[dict[str, Any]]:
    """Run all cells, ordered by seed, then attack, then the floor and the defences in the order of the file.

    A cell is JSON-ready: `attack`, `defense` and `seed`, with its measurements, or the `error` that prevented them.

    Args:
        spec: comparison to run.
        out: the store; existing results are reused, and stages that failed before are tried again.
        attacks: run these only; all if empty.
        defenses: run these rows of the table only; all if empty.
        progress: draw progress bars on stderr.
        report: called with every cell as soon as it is done.

    Raises:
        ConfigError: `attacks` or `defenses` has a name that the comparison does not define.
        OutputError: the store cannot be written to.
    """
    chosen = spec.only(attacks, defenses)
    if not chosen.floor and not chosen.defenses:
        return []
    record = run_grid(
        chosen.grid(),
        "comparison",
        out,
        retry_failed=True,
        options=RunOptions(progress=progress),
        report=lambda cell: report(_cell(cell)),
    )
    found = [_cell(cell) for cell in record["cells"]]
    order = [*chosen.attacks]
    return sorted(
        found,
        key=lambda cell: (chosen.seeds.index(cell["seed"]), order.index(cell["attack"]), cell["defense"] != FLOOR),
    )


def _floor(attack: str) -> str:
    """Return the name of the un-poisoned counterpart of an attack in the grid."""
    return f"{FLOOR}: {attack}"


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    """Return a grid's cell as a cell of the comparison."""
    attack, defense = cell["attack"], cell["defense"]
    if cell["variant"] is not None:
        defense = f"{defense} ({cell['variant']})"
    if attack.startswith(f"{FLOOR}: "):
        attack, defense = attack.removeprefix(f"{FLOOR}: "), FLOOR
    place = {"attack": attack, "defense": defense, "seed": cell["seed"]}
    if cell["status"] != "done":
        error = cell.get("error", "not measured yet")
        return {**place, "error": error, "cause": cell.get("cause", error)}
    metrics, stages = cell["metrics"], {stage["kind"]: stage["result"] for stage in cell["stages"]}
    if defense == FLOOR:
        counted = {
            "ca": metrics["ca"],
            "asr": metrics["floor"][attack],
            "intervals": {**metrics["intervals"], "asr": metrics["floor_intervals"][attack]},
            "n_clean": metrics["n_clean"],
            "n_triggered": metrics["floor_rows"][attack],
        }
    else:
        counted = {key: value for key, value in metrics.items() if key != "threshold"}
    theta_p = stages["theta_p"]
    return {
        **place,
        **counted,
        "seconds_per_1000": cell["seconds_per_1000"],
        "fit_seconds": cell["seconds_to_fit"],
        "facts": _facts(metrics, stages),
        "not_applicable": sum(stages["answers"]["not_applicable"].values()),
        "theta_p": {key: theta_p.get(key) for key in ("dev_ca", "dev_asr", "poisoning")},
    }


def _facts(metrics: dict[str, Any], stages: dict[str, Any]) -> dict[str, Any]:
    """Return the choices of the defence."""
    if "threshold" in metrics:
        return dict(metrics["threshold"])
    if "repair" in stages:
        return dict(stages["repair"])
    facts = dict(stages["answers"]["facts"])
    changed = facts.pop("changed", {})
    return {**facts, **{f"changed_{name}": share for name, share in changed.items()}}


def _require_known(kind: str, wanted: Sequence[str], known: Collection[str]) -> None:
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ConfigError(f"the comparison has no {kind} {', '.join(unknown)}; it has: {', '.join(known)}")
