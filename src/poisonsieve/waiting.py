"""A line on the terminal that says that a command is at work, while there is nothing to count yet."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

_TICK_S = 0.25


class _Waiting:
    """A line with the seconds gone, drawn again and again by a thread until it is ended.

    Args:
        label: text before the seconds.
        stream: the terminal.
    """

    def __init__(self, label: str, stream: TextIO) -> None:
        self._label, self._stream = label, stream
        self._started = time.monotonic()
        self._drawn = 0  # columns to wipe
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._draw()
        threading.Thread(target=self._tick, name="waiting", daemon=True).start()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Take the line away while something else is printed; it comes back below."""
        with self._lock:
            self._wipe()
            yield

    def end(self) -> None:
        """Take the line away for good."""
        with self._lock:
            self._ended.set()
            self._wipe()

    def _tick(self) -> None:
        while not self._ended.wait(_TICK_S):
            with self._lock:
                if not self._ended.is_set():
                    self._draw()

    def _draw(self) -> None:
        line = f"{self._label} [{time.monotonic() - self._started:.0f} s]"
        self._write(f"\r{line}")
        self._drawn = len(line)

    def _wipe(self) -> None:
        if self._drawn:
            self._write(f"\r{' ' * self._drawn}\r")
            self._drawn = 0

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone; the work goes on
            self._stream.write(text)
            self._stream.flush()


_waiting: _Waiting | None = None  # a terminal has one last line


@contextlib.contextmanager
def waiting(label: str | None) -> Iterator[None]:
    """Show on a terminal that the block is at work, until it ends or draws its first bar; nothing without a label.

    Importing the libraries and opening models takes seconds in which there is nothing to count.
    """
    global _waiting
    if label is not None and sys.stderr.isatty():
        _waiting = _Waiting(label, sys.stderr)
    try:
        yield
    finally:
        end_waiting()


def aside() -> contextlib.AbstractContextManager[None]:
    """Return a context in which lines can be printed to the terminal although it shows that work goes on."""
    return contextlib.nullcontext() if _waiting is None else _waiting.aside()


def end_waiting() -> None:
    """Take the line of `waiting` away before the end of its block, if it is there."""
    global _waiting
    if _waiting is not None:
        _waiting.end()
        _waiting = None
