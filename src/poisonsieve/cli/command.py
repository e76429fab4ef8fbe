"""What every command runs in: exit codes, one-line errors, signals, threads, and stdout kept for results.

Exit codes: 0 done; 1 `screen --exit-code` found something; 2 wrong usage or bad input; 130 interrupted; 129 and 143
ended by SIGHUP and SIGTERM; 141 the reader of the output closed it.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import typer

from poisonsieve import terminal
from poisonsieve.cli import printing
from poisonsieve.cli.ending import Ended, raising_ended
from poisonsieve.errors import ConfigError, PoisonsieveError
from poisonsieve.notices import hearing
from poisonsieve.processors import Processors
from poisonsieve.waiting import aside
from poisonsieve.waiting import waiting as waiting_line

EXIT_FOUND = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


@contextlib.contextmanager
def running(*, resumable: bool = False, own_signals: bool = False, waiting: bool = False) -> Iterator[Processors]:
    """Run a command: send library output to stderr, and turn an error into one line and an exit code.

    Each distinct `PoisonsieveWarning` also becomes one line on stderr. The command gets the processors as they are
    before the heavy libraries are imported; one that computes calls `share` on them, once its options are checked.

    Args:
        resumable: tell the user that an interrupted run can be continued.
        own_signals: the command handles SIGTERM itself; otherwise SIGTERM and SIGHUP end it like an interrupt.
        waiting: show on a terminal that it loads, until it draws its first progress bar.

    Raises:
        typer.Exit: with the exit code.
    """
    ending = contextlib.nullcontext() if own_signals else raising_ended()
    kept = "; run the same command again to resume" if resumable else ""
    loading = waiting_line("loading" if waiting else None)
    try:
        with ending, contextlib.redirect_stdout(_Shown(sys.stderr)), hearing(_warn), _warnings_shown(), loading:
            _quiet_libraries()
            yield Processors()
    except PoisonsieveError as error:
        typer.echo(printing.one_line(error), err=True)
        raise typer.Exit(EXIT_USAGE) from None
    except KeyboardInterrupt:
        typer.echo(f"interrupted{kept}", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except Ended as ended:
        typer.echo(f"ended by {ended.name}{kept}", err=True)
        raise typer.Exit(ended.exit_code) from None
    except BrokenPipeError:
        # The reader closed the pipe (`| head`). Nothing more can be printed, and work may be unfinished.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]
        raise typer.Exit(EXIT_BROKEN_PIPE) from None


def share(processors: Processors, *, quiet: bool = False, beside_load: bool = True) -> None:
    """Compute with as many threads as processors are free, and say on stderr how many these are (`Processors.share`)."""
    line = processors.share(beside_load=beside_load)
    if line is not None and not quiet:
        printing.note(line)


def _warn(text: str) -> None:
    printing.note(f"warning: {terminal.one_line(text)}")


def require_extra(extra: str, *modules: str) -> None:
    """Tell the user what to install if the libraries of an extra are missing.

    Raises:
        ConfigError: one of the modules is not installed.
    """
    import importlib.util

    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"this needs {', '.join(missing)}; install poisonsieve[{extra}]")


class _Shown(io.TextIOBase):
    """A stream for library output that makes control codes visible."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with aside():
            self._stream.write(terminal.visible(text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


@contextlib.contextmanager
def _warnings_shown() -> Iterator[None]:
    """Make control codes in library warnings visible."""
    import warnings

    plain = warnings.formatwarning

    def shown(*args: Any, **more: Any) -> str:
        return terminal.visible(plain(*args, **more))

    warnings.formatwarning = shown
    try:
        yield
    finally:
        warnings.formatwarning = plain


def _quiet_libraries() -> None:
    import logging
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"(peft|transformers|torch|accelerate)\b")
    warnings.filterwarnings("ignore", category=FutureWarning)
