"""How many threads to compute with: what affinity and quotas allow, less what other processes use.

Only the command line does this, at its start. Importing the package changes nothing: the threads of a process, and the
variables its children inherit, belong to the program that runs in it. A program of your own can do the same:

    from poisonsieve.processors import Processors, wait_without_spinning

    wait_without_spinning()  # before torch is imported
    processors = Processors()
    print(processors.share())

What is said of /proc and of control groups holds for Linux. Elsewhere all processors count as free.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CHOSEN_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}  # for GNU's OpenMP and for LLVM's and Intel's


def wait_without_spinning() -> None:
    """Let OpenMP's threads sleep while they wait. Call before torch is imported; what the user has set stays.

    By default they spin, and so take a processor from the process that they wait for: two trainings on two processors
    would slow each other down tenfold.
    """
    for name, value in _WAITING.items():
        os.environ.setdefault(name, value)


class Processors:
    """The processors of this machine, and how busy other processes keep them from now until `share`.

    Args:
        root: folder that holds ``proc`` and ``sys``.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.installed = os.cpu_count() or 1
        self.allowed = _allowed(self.installed)
        self.quota = _quota(root)
        self._embedded = "torch" in sys.modules
        self._since = time.perf_counter(), _seconds_busy(root, self.allowed), _own_seconds()

    def share(self, *, beside_load: bool = True) -> str | None:
        """Import torch, give it a share of the processors, and return one line that says which.

        Nothing is done, and None returned, if the user has chosen (``OMP_NUM_THREADS``, ``MKL_NUM_THREADS``), or if
        torch was imported before: then the threads are the embedding program's.

        Args:
            beside_load: leave out what other processes use now. A service does not: it outlives them.
        """
        if self._embedded or any(os.environ.get(name) for name in CHOSEN_BY_USER):
            return None
        import torch

        busy = self.busy() if beside_load else None
        most = torch.get_num_threads()  # one for each core, where a core is two processors
        threads = threads_for(len(self.allowed), self.quota, busy, most)
        torch.set_num_threads(threads)
        return self._describe(threads, busy, most)

    def busy(self) -> float | None:
        """Return how many of the allowed processors others have used since the start, as a mean; None if unknown."""
        started, before, own_before = self._since
        after = _seconds_busy(self.root, self.allowed)
        seconds = time.perf_counter() - started
        if before is None or after is None or seconds <= 0:
            return None
        others = after - before - (_own_seconds() - own_before)
        return min(max(others / seconds, 0.0), float(len(self.allowed)))

    def _describe(self, threads: int, busy: float | None, most: int) -> str:
        reasons = [f"{len(self.allowed)} of {self.installed} processors"]
        if self.quota is not None:
            reasons.append(f"a quota of {self.quota:g}")
        if most < len(self.allowed):
            reasons.append(f"{most} cores")
        if busy is not None:
            reasons.append(f"{busy:.1f} busy")
        return f"{threads} {'thread' if threads == 1 else 'threads'}: {', '.join(reasons)}"


def threads_for(allowed: int, quota: float | None, busy: float | None, most: int) -> int:
    """Return the number of threads: as many as processors are free, to the nearest, and at least one.

    Args:
        allowed: processors that the process may run on.
        quota: processors that its control group may use; None without a limit.
        busy: processors that others use; None if unknown.
        most: threads beyond which there is nothing to gain.
    """
    free = min(allowed - (busy or 0.0), math.inf if quota is None else quota)
    return max(1, min(round(free), most))


def _allowed(installed: int) -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(installed))


def _quota(root: Path) -> float | None:
    """Return the processors that the process's control groups may use: the tightest limit, of a group or above it."""
    return min((limit for group in _groups(root) if (limit := _limit(group)) is not None), default=None)


def _limit(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():  # version 2
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = (
                (group / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period")
            )
    except OSError:
        return None
    return None if quota == "max" or int(quota) < 0 else int(quota) / int(period)


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the process's control groups for processors, and of all groups above them.

    Inside a container a group may be named as the host sees it; then only the topmost folder exists.
    """
    mounted = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            tops = [mounted, mounted / "unified"]
        elif "cpu" in controllers.split(","):
            tops = [mounted / controllers, mounted / "cpu"]
        else:
            continue
        for top in tops:
            parts = Path(path).parts[1:]
            yield from (top.joinpath(*parts[:depth]) for depth in range(len(parts) + 1))


def _seconds_busy(root: Path, processors: frozenset[int]) -> float | None:
    """Return the seconds that these processors have worked since the machine started; None if it does not say.

    Work of a low priority (`nice`) counts: between sessions or control groups it gets as much as any other.
    """
    try:
        lines = (root / "proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    ticks = 0
    for line in lines:
        name, *rest = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in processors:
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(value) for value in rest[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system
