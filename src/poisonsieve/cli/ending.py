"""Signals that end a command: as Ctrl-C does, with what is half done taken away."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class Ended(BaseException):
    """The process was told to end. Like `KeyboardInterrupt` it is no error, and nothing that catches errors keeps it.

    Attributes:
        name: of the signal.
        exit_code: as a shell knows it, 128 and the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.exit_code = 128 + number


@contextlib.contextmanager
def raising_ended() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise `Ended` where the main thread is; one that is ignored or handled stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    mine = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    process = os.getpid()

    def end(number: int, _: FrameType | None) -> None:
        if os.getpid() != process:  # a worker that was forked: what is half done is not its own
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for each in mine:
            signal.signal(each, _nothing)  # a second one would stop the cleaning up
        raise Ended(number)

    for number in mine:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def _nothing(_: int, __: FrameType | None) -> None:
    """No SIG_IGN: of a signal that has arrived by then, Python would complain on stderr."""
