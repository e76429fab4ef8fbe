"""The grid on the card: one process for an attack on a model with one seed, several of them side by side."""

import json
import lzma
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu.clock import Clock, end, start
from gpu.parts import digest_of, missing
from gpu.place import Place
from gpu.share import best

CELLS = "cells.jsonl.xz"
#: Seconds that a group is thought to take before one has been timed.
_FIRST_GUESS = 60.0
#: How a group stands that is not begun again. Cells that failed say why; that would not change.
_THROUGH = ("done", "cells failed")


@dataclass
class _Running:
    group: dict[str, Any]
    process: subprocess.Popen[bytes]
    output: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


def run_grid(place: Place, clock: Clock) -> str:
    """Work off the groups that are left, the most valuable first, until all are done or the time is up.

    Returns:
        ``done`` when no group is left whose models are here, else ``stopped``.
    """
    count = best(place) or 1
    threads = max(1, (os.cpu_count() or 1) // count)
    todo = left_to_do(place)
    began, running = time.monotonic(), list[_Running]()
    place.record("grid", what="start", processes=count, groups=len(todo))
    try:
        while (todo and clock.left > _expected(place)) or running:
            while todo and len(running) < count and clock.left > _expected(place):
                group = todo.pop(0)
                running.append(_begin(place, group, threads))
            if clock.left <= 0:
                break
            time.sleep(0.2)
            for each in [entry for entry in running if entry.process.poll() is not None]:
                running.remove(each)
                _note(place, each)
    finally:
        end([each.process for each in running])
        cells = bring_together(place)
        minutes = (time.monotonic() - began) / 60
        place.record("grid", what="end", processes=count, cells=cells, minutes=minutes, cut_off=len(running))
    return "stopped" if todo or running else "done"


def left_to_do(place: Place) -> list[dict[str, Any]]:
    """Groups that were not done here, nor in an earlier call whose records came along, and whose models are here."""
    done = {_key(record["group"]) for record in place.records("group") if record["status"] in _THROUGH}
    manifest = place.manifest
    return [
        group
        for group in manifest["grid"]["groups"]
        if _key(group) not in done
        and not any(missing(manifest, place.work, f"weights/{name}/") for name in group["weights"])
    ]


def _expected(place: Place) -> float:
    """Seconds of a group, as the slowest of the last ten that were done took: none is begun that cannot finish."""
    seconds = [record["seconds"] for record in place.records("group") if record["status"] in _THROUGH][-10:]
    return max(seconds) if seconds else 0.0 if place.tiny else _FIRST_GUESS


def _begin(place: Place, group: dict[str, Any], threads: int) -> _Running:
    file = place.work / "files" / "grid" / f"{group['file']}.yaml"
    only = [part for axis, value in group["only"].items() for part in ("--only", f"{axis}={value}")]
    where = ["--data-root", str(place.data), "--out", str(place.store), "--quiet", "--json"]
    command = [sys.executable, "-m", "poisonsieve.cli", "bench", "run", str(file), *where, *only]
    output = place.work / "groups" / f"{digest_of(_key(group).encode())[:16]}.json"
    output.parent.mkdir(exist_ok=True)
    process = start(command, place.environment(threads), place.log, output=output)
    return _Running(group, process, output)


def _note(place: Place, ran: _Running) -> None:
    """Put on record how a group ended, and keep its own cells as its process gave them.

    The results file of the store is no witness here: of two processes that write it, the later one may know less.
    """
    try:
        given = json.loads(ran.output.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError):
        given = []
    only = ran.group["only"]
    own = [cell for cell in given if all(str(cell[axis]) == value for axis, value in only.items())]
    ran.output.write_text(json.dumps({"file": ran.group["file"], "cells": own}), encoding="utf-8")
    standings = {cell["status"] for cell in own}
    status = "failed" if not own or "waiting" in standings else "done" if standings == {"done"} else "cells failed"
    code, seconds = ran.process.returncode, ran.seconds
    place.record("group", group=_short(ran.group), status=status, code=code, seconds=seconds)


def bring_together(place: Place) -> int:
    """Write what is known of every cell, here and in results that came along, into one file; how many are done."""
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for line in [*read_cells(place.results / CELLS), *_in_store(place.store), *_given(place.work)]:
        key = (line["file"], axes_of(line["cell"])) if "cell" in line else (line["file"], "")
        if key not in lines or rank(line) >= rank(lines[key]):
            lines[key] = line
    temporary = place.results / f"{CELLS}.writing"
    with lzma.open(temporary, "wt", preset=3, encoding="utf-8") as stream:
        for line in lines.values():
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
    temporary.replace(place.results / CELLS)
    return sum(rank(line) == len(_STANDINGS) for line in lines.values())


def read_cells(file: Path) -> list[dict[str, Any]]:
    """What `bring_together` wrote: for each grid file its head, and its cells."""
    if not file.is_file():
        return []
    with lzma.open(file, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def _in_store(store: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(store.glob("grids/*/results.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        cells = content.pop("cells")
        yield {"file": file.parent.name, "head": content}
        yield from ({"file": file.parent.name, "cell": cell} for cell in cells)


def _given(work: Path) -> Iterator[dict[str, Any]]:
    """Cells as the processes gave them that were through with their groups."""
    for file in sorted(work.glob("groups/*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            yield from ({"file": content["file"], "cell": cell} for cell in content["cells"])
        except (ValueError, KeyError):
            continue  # of a process that was ended


def axes_of(cell: dict[str, Any]) -> str:
    """What tells a cell from all others: where it stands, not what was found there."""
    plain = {key: value for key, value in cell.items() if isinstance(value, str | int | None)}
    return json.dumps({key: value for key, value in plain.items() if key not in _FOUND}, sort_keys=True)


def rank(line: dict[str, Any]) -> int:
    """How much a line knows: a cell that is done, one that failed, one that waits."""
    return 1 + _STANDINGS.index(line["cell"]["status"]) if "cell" in line else 0


_STANDINGS = ["waiting", "failed", "done"]
_FOUND = ("status", "error", "key", "seconds", "seconds_per_1000", "seconds_to_fit")


def _key(group: dict[str, Any]) -> str:
    return json.dumps([group["file"], group["only"]], sort_keys=True)


def _short(group: dict[str, Any]) -> dict[str, Any]:
    return {"file": group["file"], "only": group["only"], "cells": group["cells"]}
