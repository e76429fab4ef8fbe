"""A grid's results file: every cell in order, with its measurements or why they are missing, and its stages.

Judging a cell reads its stored scores. A cell with the same scores and threshold as last time is copied from the last
results, so that a repeated run reads one file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from poisonsieve.bench.entries import NONE, ThresholdEntry
from poisonsieve.bench.judge import judge, lost_to_defence
from poisonsieve.bench.plan import Answers, Plan, Stage
from poisonsieve.bench.rows import Rewritten
from poisonsieve.bench.spec import GAMMA, CellSpec, GridSpec
from poisonsieve.bench.store import RESULTS_FILE, Store, file_name
from poisonsieve.errors import ConfigError, PoisonsieveError
from poisonsieve.storage import canonical_hash, read_json_if_there, write_json_if_changed

FORMAT_VERSION = 2
#: Minimum ASR of theta_p on dev rows for an attack to have taken, as the paper requires.
TOOK = 0.95

_FAILED = ("status", "error", "cause")

Report = Callable[[dict[str, Any]], None]


class Results:
    """The results of one grid in a store, updated cell by cell.

    Args:
        grid: the grid.
        name: its name in the store.
        plan: its cells and their stages.
        store: the store.
        report: called once with every cell, as soon as it is done or has failed.
    """

    def __init__(self, grid: GridSpec, name: str, plan: Plan, store: Store, report: Report) -> None:
        self.grid, self.plan, self.store, self.report = grid, plan, store, report
        self._reported: set[int] = set()
        self.folder = store.grid(name)
        self.file = self.folder / RESULTS_FILE
        self._last = {(cell.get("key"), json.dumps(cell.get("judged_by"))): cell for cell in _cells_of(self.file)}

    def record(self) -> dict[str, Any]:
        """Return the grid and the current state of every cell, JSON-ready."""
        cells = [self._cell(cell, stage) for cell, stage in zip(self.plan.cells, self.plan.scores, strict=True)]
        self._add_accuracy_lost(cells)
        return {
            "format_version": FORMAT_VERSION,
            "title": self.grid.title,
            "grid": self.grid.model_dump(mode="json"),
            "cells": cells,
        }

    def write(self) -> dict[str, Any]:
        """Update the files, and return what `record` returns. A file that would not change is not written.

        Raises:
            OutputError: the files cannot be written.
        """
        record = self.record()
        for cell in record["cells"]:
            write_json_if_changed(self.folder / "cells" / f"{_file_of(cell)}.json", cell)
        write_json_if_changed(self.file, record)
        for index, cell in enumerate(record["cells"]):
            if cell["status"] != "waiting" and index not in self._reported:
                self._reported.add(index)
                self.report(cell)
        return record

    def _cell(self, cell: CellSpec, stage: Stage) -> dict[str, Any]:
        axes = cell.model_dump(mode="json")
        rules = self._rules(cell)
        judged_by = {name: rule.judged_by() for name, rule in rules.items()}
        if stage.kind != "scores":  # nothing is rejected, so no threshold applies
            judged_by = {}
        if self.store.finished(stage):
            known = self._last.get((stage.key, json.dumps(judged_by)))
            if known is not None and known["status"] == "done":
                return {**known, **axes}
            judged = {**axes, "key": stage.key, "judged_by": judged_by, **self._judged(stage, rules)}
            self._last[stage.key, json.dumps(judged_by)] = judged
            return judged
        failed = self.store.failure(stage)
        status = {"status": "waiting"} if failed is None else dict(zip(_FAILED, ("failed", *failed), strict=True))
        return {**axes, "key": stage.key, "judged_by": judged_by, **status}

    def _add_accuracy_lost(self, cells: list[dict[str, Any]]) -> None:
        """Add to every defended cell the CA lost against the same victim without a defence."""
        planned = list(zip(self.plan.cells, self.plan.scores, strict=True))
        undefended = {
            _victim_behind(spec): stage for spec, stage in planned if self.grid.defenses[spec.defense].defense == NONE
        }
        for cell, (spec, stage) in zip(cells, planned, strict=True):
            before = undefended.get(_victim_behind(spec))
            known = cell["status"] != "done" or "accuracy_lost" in cell["metrics"]
            if not known and before is not None and before.key != stage.key and self.store.finished(before):
                cell["metrics"]["accuracy_lost"] = lost_to_defence(stage, before, self.store, self._threshold(spec))

    def _rules(self, cell: CellSpec) -> dict[str, ThresholdEntry]:
        """Return the threshold rule, and those of a sweep over gamma, by name."""
        rules = {"threshold": self._threshold(cell)}
        for name, sweep in self.grid.sweeps.items():
            if sweep.field == GAMMA and sweep.victim == cell.victim:
                rules |= {f"{name}={value}": ThresholdEntry(gamma=value) for value in sweep.values}
        return rules

    def _threshold(self, cell: CellSpec) -> ThresholdEntry:
        """Return the threshold rule of the defence, the model or the grid, in that order."""
        own = self.grid.defenses[cell.defense].threshold
        return own or self.grid.models[cell.model].threshold or self.grid.threshold

    def _judged(self, stage: Stage, rules: dict[str, ThresholdEntry]) -> dict[str, Any]:
        try:
            metrics = judge(stage, self.store, rules["threshold"])
            swept = {
                name: judge(stage, self.store, rule)
                for name, rule in rules.items()
                if name != "threshold" and stage.kind == "scores"
            }
        except PoisonsieveError as error:  # these scores do not allow the threshold
            return {"status": "failed", "error": str(error)}
        return {"status": "done", "metrics": metrics, **({"swept": swept} if swept else {}), **self._made_by(stage)}

    def _made_by(self, stage: Stage) -> dict[str, Any]:
        """Return the stages behind a cell: their folders, settings, results and seconds."""
        stages = {entry.key: entry for entry in stage.chain()}
        runs = {key: self.store.run(entry) for key, entry in stages.items()}
        theta_p = next(runs[key]["result"] for key, entry in stages.items() if entry.kind == "theta_p")
        success = theta_p.get("dev_asr")
        return {
            "theta_p": {
                "dev_ca": theta_p["dev_ca"],
                "dev_asr": success,
                "took": None if success is None else success >= TOOK,
            },
            "stages": [
                {
                    "kind": entry.kind,
                    "folder": str(self.store.folder(entry).relative_to(self.store.root)),
                    "params": entry.params,
                    "result": _without_times(runs[key]["result"]),
                }
                for key, entry in stages.items()
            ],
            "environment": runs[stage.key]["environment"],
            "seconds": {f"{entry.kind} {entry.title}": runs[key]["seconds"] for key, entry in stages.items()},
            **_costs(stage, runs),
        }


def _victim_behind(cell: CellSpec) -> tuple[str, str, str, str, str, int]:
    """Return what identifies the victim behind a cell's defence."""
    return cell.dataset, cell.setting, cell.model, cell.attack, cell.victim, cell.seed


def _costs(stage: Stage, runs: Mapping[str, dict[str, Any]]) -> dict[str, float | None]:
    """Return what a defence costs on this machine, including the victim's answers.

    `seconds_per_1000` texts, from texts to answers; None for rewrites made elsewhere. `seconds_to_fit`, once per
    model: guard, repair, or the choices of a rewriter.
    """
    answers = stage.needs.get("answers", stage)
    found = runs[answers.key]["result"]
    answering, fitting = found["seconds"] + found.get("rewriting_seconds", 0.0), found.get("fit_seconds", 0.0)
    for part, needed in {**answers.needs, **stage.needs}.items():
        result = runs[needed.key]["result"]
        if part == "shortened" and result["asked"]:
            answering += result["seconds"] - found["seconds"]
        elif part == "confidences":
            answering += result["seconds"]
            fitting += runs[needed.needs["guard"].key]["seconds"]
        elif part == "work:dev":
            fitting += result["seconds"]
        elif part.startswith("work:"):
            answering += result["seconds"]
    repairs = {entry.key for entry in stage.chain() if entry.kind == "repair"}
    fitting += sum(runs[key]["seconds"] for key in repairs)
    elsewhere = any(isinstance(rows, Rewritten) for rows in Answers(**answers.params).sets.values())
    return {"seconds_per_1000": None if elsewhere else 1000 * answering / found["rows"], "seconds_to_fit": fitting}


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read one results file, or all of a store's, each as `Results.record` made it.

    Args:
        path: a results file, a grid's folder, or a store.

    Raises:
        ConfigError: there is none, or a newer version wrote it.
    """
    candidates = (
        [path] if path.is_file() else sorted({*path.glob(RESULTS_FILE), *path.glob(f"grids/*/{RESULTS_FILE}")})
    )
    if not candidates:
        raise ConfigError(f"{path} has no {RESULTS_FILE}; give what `poisonsieve bench run` wrote with --out")
    found = []
    for file in candidates:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            version = content["format_version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{file} is not a results file of a grid: {error}") from None
        if version == 1:  # before every defence could be varied
            content["cells"] = [{**cell, "variant": cell.get("psim")} for cell in content["cells"]]
        elif version != FORMAT_VERSION:
            raise ConfigError(
                f"{file} has format version {version}, this poisonsieve reads {FORMAT_VERSION}; update it"
            )
        found.append(content)
    return found


def _cells_of(file: Path) -> list[dict[str, Any]]:
    """Return the cells of the last run; none if there are none or another version wrote them: all are judged again."""
    content = read_json_if_there(file)
    return list(content["cells"]) if content.get("format_version") == FORMAT_VERSION else []


def _without_times(value: Any) -> Any:
    """Return a stage's result without its times, which differ from run to run."""
    if isinstance(value, dict):
        kept = {key: entry for key, entry in value.items() if not key.endswith("seconds") and key != "resumed_from"}
        return {key: _without_times(entry) for key, entry in kept.items()}
    return value


def _file_of(cell: dict[str, Any]) -> str:
    """Return a name that is unique among the grid's cells."""
    digest = canonical_hash({axis: cell[axis] for axis in CellSpec.model_fields})[:8]
    return f"{file_name('-'.join(str(cell[axis]) for axis in ('model', 'attack', 'defense', 'victim')))}-{digest}"
