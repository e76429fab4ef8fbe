"""What the commands share: options, exit codes, and keeping stdout for results.

Exit codes: 0 done; 1 `screen --exit-code` found something; 2 wrong usage or bad input; 130 interrupted;
129 and 143 ended by SIGHUP and SIGTERM; 141 the reader of the output went away.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from poisonsieve import terminal
from poisonsieve.cli.ending import Ended, raising_ended
from poisonsieve.errors import ConfigError, PoisonsieveError
from poisonsieve.notices import hearing

if TYPE_CHECKING:
    from rich.console import Console

EXIT_FOUND = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

Seed = Annotated[int, typer.Option(help="Decides everything that is drawn by chance.", min=0, max=2**32 - 1)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; progress stays on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what --out already holds.")]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        help="Open .bin/.pt weights. RISK: a pickle can run code when loaded; it is scanned and read weights-only.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value: one more argument of --defense. May be repeated.", metavar="KEY=VALUE"),
]
Base = Annotated[str | None, typer.Option(help="Where the base model of an adapter is, if it was moved.")]
DATA_HELP = "hub:ID, packaged:NAME, a file (JSONL, CSV, TSV, Parquet) or a folder; #SPLIT at the end picks a split."
TextColumn = Annotated[
    str | None,
    typer.Option("--text-column", help="The column with the texts. Default: text or sentence.", metavar="NAME"),
]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", help="The column with the labels. Default: label.", metavar="NAME")
]
IdColumn = Annotated[
    str | None,
    typer.Option("--id-column", help="The column with ids, which come back in the records.", metavar="NAME"),
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the rows. Default: by method.", min=1)]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Peak learning rate. Default: by method and width.")]
BatchSize = Annotated[int, typer.Option(help="Rows a step.", min=1)]
MaxLength = Annotated[
    int | None, typer.Option(help="Tokens a text is cut to. Default: what the model was tuned with, else 256.", min=8)
]
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16 (training only; scoring is fp32).")]


@contextlib.contextmanager
def running(*, resumable: bool = False, own_signals: bool = False) -> Iterator[None]:
    """The frame of a command: whatever libraries print goes to stderr; errors become one line and a code.

    A `PoisonsieveWarning` becomes one line on stderr too, once for each text.

    Args:
        resumable: an interrupted run is not lost, which is then said.
        own_signals: the command ends in its own way on SIGTERM; else that is as if it were interrupted, and so is SIGHUP.

    Raises:
        typer.Exit: with the code of what happened.
    """
    ending = contextlib.nullcontext() if own_signals else raising_ended()
    kept = "; the same command goes on where this one stopped" if resumable else ""
    try:
        with ending, contextlib.redirect_stdout(_Shown(sys.stderr)), hearing(_warn), _warnings_shown():
            _quiet_libraries()
            yield
    except PoisonsieveError as error:
        typer.echo(one_line(error), err=True)
        raise typer.Exit(EXIT_USAGE) from None
    except KeyboardInterrupt:
        typer.echo(f"interrupted{kept}", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except Ended as ended:
        typer.echo(f"ended by {ended.name}{kept}", err=True)
        raise typer.Exit(ended.exit_code) from None
    except BrokenPipeError:
        # The reader of our output went away (`| head`). Nothing more can be said to it, but work may be unfinished.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]
        raise typer.Exit(EXIT_BROKEN_PIPE) from None


def _warn(text: str) -> None:
    typer.echo(f"warning: {terminal.one_line(text)}", err=True)


def one_line(error: object) -> str:
    """What is said of an error: one line a terminal can only print, whatever a file name or a library's message holds."""
    return f"error: {terminal.one_line(error)}"


def print_result(value: dict[str, Any]) -> None:
    """One JSON object on the real stdout."""
    print_text(terminal.visible_json(value, indent=2, allow_nan=False) + "\n")


def print_line(line: str) -> None:
    """One line on the real stdout, for people or as JSON: nothing in it is obeyed by a terminal."""
    print_text(terminal.visible(line) + "\n")


def print_text(text: str) -> None:
    """Text on the real stdout, in UTF-8 whatever the locale. As it is, unless that is a terminal."""
    with stdout() as stream:
        text = terminal.visible(text) if stream.isatty() else text
        stream.buffer.write(text.encode("utf-8"))


def print_facts(title: str, facts: dict[str, Any]) -> None:
    """A two-column table on the real stdout, for people."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), show_header=False, box=box.SIMPLE, title_justify="left")
    for name, value in facts.items():
        table.add_row(Text(name), Text(terminal.visible(str(value))))
    with stdout() as stream:
        console(stream).print(table)


def console(stream: TextIO, width: int = 140) -> Console:
    """A console for tables; in a pipe or a file, which have no width, one of `width`, which long paths fit into.

    What a terminal would obey in their texts is shown instead; their colours are the console's own.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Shown(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=terminal.visible(segment.text))

        def on_broken_pipe(self) -> None:
            """Rich would end the process by itself; what a reader that went away means, `running` says."""
            raise BrokenPipeError

    return Shown(file=stream, width=None if stream.isatty() else width)


@contextlib.contextmanager
def stdout() -> Iterator[TextIO]:
    """The real stdout, flushed at the end.

    Raises:
        OutputError: it could not be written, as when it goes to a file on a full disk.
    """
    from poisonsieve.errors import OutputError

    stream = sys.__stdout__
    assert stream is not None  # noqa: S101 - only None under pythonw, where there is no command line
    try:
        yield stream
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or the interpreter tries again when it ends
        raise OutputError(f"cannot write to stdout: {error.strerror or error}") from error


def note(text: str) -> None:
    """A remark on stderr."""
    typer.echo(terminal.visible(text), err=True)


def require_extra(extra: str, *modules: str) -> None:
    """Say what to install when the libraries of an extra are not there.

    Raises:
        ConfigError: one of the modules is not installed.
    """
    import importlib.util

    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"this needs {', '.join(missing)}; install poisonsieve[{extra}]")


def percent(rate: float) -> str:
    """A fraction as a percentage with one decimal."""
    return f"{100 * rate:.1f}%"


class _Shown(io.TextIOBase):
    """A stream for what libraries print, on which nothing is obeyed that their texts hold."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(terminal.visible(text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


@contextlib.contextmanager
def _warnings_shown() -> Iterator[None]:
    """The same for what libraries warn of."""
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
