"""Runs the kit on the target: stages in the order asked for, each on record the moment it is done, all in time."""

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu.clock import Clock, start, wait
from gpu.grid import CELLS, run_grid
from gpu.parts import KitError
from gpu.place import RECORDS, Place
from gpu.probe import packages
from gpu.share import share
from gpu.speed import CASES

PAYLOADS = ("check", "roofline", "grid", "speed")


@dataclass(frozen=True)
class Stage:
    """A piece of work that is done or not.

    Attributes:
        name: in the records.
        seconds: what it takes on a card at most; it is not begun with less left.
        work: does it within a clock, and says how it ended, ``done`` or ``stopped``; an error says why it failed.
        divisible: it can be stopped at any time and goes on the next time, so it is begun with whatever is left.
    """

    name: str
    seconds: float
    work: Callable[[Clock], str]
    divisible: bool = False


def run(place: Place, clock: Clock, payloads: list[str], *, grid_seconds: float | None, out: Path | None) -> bool:
    """Do what is left of the payloads, in their order; whether nothing failed.

    Args:
        place: the unpacked kit.
        clock: of this call.
        payloads: some of `PAYLOADS`; the check comes first in any case, and nothing goes on where it fails.
        grid_seconds: what the grid may take of the time, so that something is left for what comes after it.
        out: a folder that gets a copy of the results after every stage.

    Raises:
        KitError: there is no such payload, or no model in the kit is whole.
    """
    unknown = sorted(set(payloads) - set(PAYLOADS))
    if unknown:
        raise KitError(f"there is no payload {unknown[0]}; there are: {', '.join(PAYLOADS)}")
    if not place.models():
        raise KitError("no model is whole yet; bring more parts")
    good = True
    done = {record["stage"] for record in place.records("stage") if record["status"] == "done"}
    if _note_machine(place):
        done.discard("check")
    for stage in _stages(place, payloads, grid_seconds):
        if stage.name in done and not stage.divisible:
            continue
        status = _do(place, stage, clock)
        _bring(place, out)
        good &= status != "failed"
        if status == "failed" and stage.name == "check":
            break
    return good


def _do(place: Place, stage: Stage, clock: Clock) -> str:
    """Do a stage if there is time for it, and put on record how it ended."""
    needed = 0.0 if stage.divisible or place.tiny else stage.seconds
    began, error = time.monotonic(), None
    if clock.left <= needed:
        status = "no time"
    else:
        print(f"{stage.name} ...", flush=True)
        try:
            status = stage.work(clock)
        except KitError as refused:
            status, error = "failed", str(refused)
    seconds = time.monotonic() - began
    print(f"{stage.name}: {status}{f' ({error})' if error else ''}, {seconds:.1f} s", flush=True)
    place.record("stage", stage=stage.name, status=status, seconds=seconds, error=error)
    return status


def _stages(place: Place, payloads: list[str], grid_seconds: float | None) -> Iterator[Stage]:
    yield Stage("check", 90, _process(place, "check"))
    for payload in payloads:
        if payload == "roofline":
            yield Stage("roofline", 30, _process(place, "roofline"))
        elif payload == "grid":
            yield Stage("share", 90, lambda clock: share(place, clock))
            yield Stage("grid", 0, lambda clock: run_grid(place, clock.within(grid_seconds)), divisible=True)
        elif payload == "speed":
            for size, what, bits, seconds in CASES:
                name = f"speed {size} {what} {bits}"
                yield Stage(name, seconds, _process(place, "speed", "--case", f"{size},{what},{bits}"))


def _process(place: Place, name: str, *arguments: str) -> Callable[[Clock], str]:
    """A stage that is one process."""

    def work(clock: Clock) -> str:
        place.log.touch()
        before = place.log.stat().st_size
        process = start(place.command(name, *arguments), place.environment(), place.log)
        if not wait(process, clock):
            return "stopped"
        if process.returncode == 0:
            return "done"
        said = place.log.read_bytes()[before:].decode(errors="replace").strip().splitlines()
        raise KitError(said[-1] if said else f"exit code {process.returncode}")

    return work


def _note_machine(place: Place) -> bool:
    """Put on record what the records are made on; whether that is new, so that the check has to be done again."""
    manifest, there = place.manifest, packages()
    names = ("torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "bitsandbytes", "numpy")
    now: dict[str, Any] = {
        "kit": manifest["kit"],
        "device": place.device,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "packages": {name: there[name] for name in names if name in there},
        "differing": manifest["differing"],
    }
    for line in manifest["differing"]:
        print(f"note: {line}", flush=True)
    last = place.records("machine")[-1:]
    new = not last or any(last[0][key] != value for key, value in now.items())
    if new:
        place.record("machine", **now)
    return new


def take_along(place: Place, earlier: Path) -> None:
    """Begin with the results of an earlier call, on a machine that has none yet.

    Raises:
        KitError: there are none in that folder.
    """
    if not (earlier / RECORDS).is_file():
        raise KitError(f"{earlier} has no {RECORDS}; give the folder that an earlier call brought back")
    for name in (RECORDS, CELLS):
        if (earlier / name).is_file() and not (place.results / name).is_file():
            shutil.copy(earlier / name, place.results / name)


def _bring(place: Place, out: Path | None) -> None:
    """Copy the results to `out`, each file whole."""
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    for file in place.results.iterdir():
        temporary = out / f"{file.name}.writing"
        shutil.copy(file, temporary)
        temporary.replace(out / file.name)
