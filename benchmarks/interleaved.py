"""Ways of working timed in turn, so that other load hits all alike, and how far their times lie apart."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles beside it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        low, median, high = np.percentile(values, (25, 50, 75))
        return cls(float(median), float(low), float(high))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def in_turn(ways: Mapping[str, Callable[[], object]], rounds: int, thrown: int = 1) -> dict[str, list[float]]:
    """Seconds of every way, round by round; each round begins with another way, and the first `thrown` are not kept."""
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds + thrown):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            ways[name]()
            if round_ >= thrown:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def times_of(seconds: Mapping[str, Sequence[float]], baseline: str) -> dict[str, Spread]:
    """How many times as long as the baseline each way takes, from the ratios within the rounds."""
    return {
        name: Spread.of([mine / its for mine, its in zip(values, seconds[baseline], strict=True)])
        for name, values in seconds.items()
    }
