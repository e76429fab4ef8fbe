"""Let a command end on SIGTERM and SIGHUP as on Ctrl-C, cleaning up unfinished work."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class Ended(BaseException):
    """The process received a signal to end. Like `KeyboardInterrupt`, it is not caught as an error.

    Attributes:
        name: name of the signal.
        exit_code: 128 plus the signal's number, as shells report it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.exit_code = 128 + number


@contextlib.contextmanager
def raising_ended() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise `Ended` in the main thread, unless they are already ignored or handled."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    process = os.getpid()

    def end(number: int, _: FrameType | None) -> None:
        if os.getpid() != process:  # a forked worker: the unfinished work is not its own
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for each in handled:
            signal.signal(each, _nothing)  # a second signal would interrupt the clean-up
        raise Ended(number)

    for number in handled:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def _nothing(_: int, __: FrameType | None) -> None:
    """Ignore a signal. With SIG_IGN, Python would complain on stderr about a signal that has already arrived."""
