"""How much time is left, and processes that end in time."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

#: Seconds kept for writing the last results down.
RESERVE = 10.0
#: Seconds that a process has to put away what it is at, after it was told to end.
GRACE = 10.0


@dataclass(frozen=True)
class Clock:
    """The time of one call.

    Attributes:
        began: `time.time()` at its start.
        seconds: how long it may take; None: as long as it likes.
    """

    began: float
    seconds: float | None

    @property
    def left(self) -> float:
        """Seconds for work, with those to end it taken off."""
        if self.seconds is None:
            return float("inf")
        return self.began + self.seconds - RESERVE - GRACE - time.time()

    def within(self, seconds: float | None) -> "Clock":
        """This clock, or one that runs out as many seconds from now."""
        if seconds is None:
            return self
        spent = time.time() - self.began
        return Clock(self.began, min(self.seconds or float("inf"), spent + seconds + RESERVE + GRACE))


def start(
    command: list[str], environment: dict[str, str], log: Path, *, talks: bool = False, output: Path | None = None
) -> subprocess.Popen[bytes]:
    """A process in a group of its own. What it prints goes to the end of `log`.

    Args:
        command: what to run.
        environment: all of its variables.
        log: a file.
        talks: its stdin and stdout are pipes.
        output: its stdout goes into this file instead.
    """
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(log.open("ab"))
        plain = stream if output is None else stack.enter_context(output.open("wb"))
        return subprocess.Popen(
            command,
            env=environment,
            start_new_session=True,
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else plain,
            stderr=stream,
        )


def wait(process: subprocess.Popen[bytes], clock: Clock) -> bool:
    """Wait for the process; when the time is up, or the waiting is broken off, end it. Whether it ended by itself."""
    try:
        left = clock.left
        process.wait(None if left == float("inf") else max(0.0, left))
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        end([process])


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Tell processes to end, as Ctrl-C would, so that they take away what is half done; kill what does not listen."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    until = time.monotonic() + GRACE
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, until - time.monotonic()))
    for process in processes:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To its whole group: a process may have started others."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
