"""What the benchmarks share: two ways of working timed in turn, and the ratio of their speeds."""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from poisonsieve.environment import environment


@dataclass(frozen=True)
class Ratio:
    """One comparison: rows a second of both sides (medians), and how many times faster the measured side was."""

    name: str
    measured: str
    baseline: str
    measured_per_s: float
    baseline_per_s: float
    ratio: float
    lowest: float
    highest: float


def timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return run


def alternate(
    measured: Callable[[], float], baseline: Callable[[], float], repeats: int
) -> list[tuple[float, float]]:
    """Seconds of both sides, repeat by repeat; the first round warms up and is dropped."""
    rounds = []
    for index in range(repeats + 1):
        if index % 2:
            slow = baseline()
            rounds.append((measured(), slow))
        else:
            rounds.append((measured(), baseline()))
    return rounds[1:]


def compare(name: str, measured: str, baseline: str, rows: int, times: list[tuple[float, float]]) -> Ratio:
    ratios = [reference / seconds for seconds, reference in times]
    return Ratio(
        name,
        measured,
        baseline,
        measured_per_s=rows / statistics.median(seconds for seconds, _ in times),
        baseline_per_s=rows / statistics.median(reference for _, reference in times),
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
    )


def report_of(ratios: Sequence[Ratio], settings: dict[str, Any], started: float) -> dict[str, Any]:
    """What a benchmark found, JSON-ready; `started` is `time.perf_counter()` at its begin."""
    return {
        "ratios": [asdict(ratio) for ratio in ratios],
        "settings": settings,
        "machine": machine(),
        "versions": environment(),
        "seconds": time.perf_counter() - started,
    }


def give(report: dict[str, Any], *, as_json: bool) -> None:
    print(json.dumps(report, indent=2)) if as_json else show(report)


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_average_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def show(report: dict[str, Any]) -> None:
    for ratio in report["ratios"]:
        print(f"{ratio['name']:11} {ratio['ratio']:6.2f}x  ({ratio['lowest']:.2f} to {ratio['highest']:.2f})")
        print(f"{'':11} {ratio['measured_per_s']:8.3f}  {ratio['measured']}")
        print(f"{'':11} {ratio['baseline_per_s']:8.3f}  {ratio['baseline']} (baseline)")
    for part in ("settings", "machine", "versions"):
        print(f"{part}: " + ", ".join(f"{key} {value}" for key, value in report[part].items()))
    print(f"whole run: {report['seconds']:.0f} s")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
