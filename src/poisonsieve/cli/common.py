"""Shared parts of the commands: options, exit codes, and keeping stdout for results.

Exit codes: 0 done; 1 `screen --exit-code` found something; 2 wrong usage or bad input; 130 interrupted; 129 and 143
ended by SIGHUP and SIGTERM; 141 the reader of the output closed it.
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
from poisonsieve.processors import Processors

if TYPE_CHECKING:
    from rich.console import Console

EXIT_FOUND = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0, max=2**32 - 1)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; progress stays on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars, and no line on threads.")]
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
    typer.Option("--set", help="Another argument of --defense; can be repeated.", metavar="KEY=VALUE"),
]
Base = Annotated[str | None, typer.Option(help="Location of an adapter's base model, if it was moved.")]
Frr = Annotated[
    float | None,
    typer.Option(
        help="At most this share of clean texts is rejected, with 95% confidence over the draw of the calibration rows. "
        "Default: 0.01, or the lowest rate that the rows can promise, up to 0.05.",
        min=0,
        max=1,
    ),
]
FrrMean = Annotated[
    float | None,
    typer.Option(help="Instead: share of clean texts rejected on average over such draws.", min=0, max=1),
]
_STORED = "from the stored calibration"
OtherFrr = Annotated[
    float | None, typer.Option(help=f"Another false-rejection rate, with 95% confidence, {_STORED}.")
]
OtherFrrMean = Annotated[float | None, typer.Option(help=f"Another false-rejection rate, on average, {_STORED}.")]
OtherGamma = Annotated[float | None, typer.Option(help="Threshold to use instead of the guard's.")]
DATA_HELP = "hub:ID, packaged:NAME, a file (JSONL, CSV, TSV, Parquet) or a folder; append #SPLIT to choose a split."
TextColumn = Annotated[
    str | None,
    typer.Option("--text-column", help="Column with the texts. Default: text or sentence.", metavar="NAME"),
]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", help="Column with the labels. Default: label.", metavar="NAME")
]
IdColumn = Annotated[
    str | None,
    typer.Option("--id-column", help="Column with ids, which are copied to the records.", metavar="NAME"),
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the rows. Default: depends on the method.", min=1)]
LearningRate = Annotated[
    float | None,
    typer.Option("--lr", help="Peak learning rate. Default: depends on the method and the model's width."),
]
BatchSize = Annotated[int, typer.Option(help="Rows per step.", min=1)]
MaxLength = Annotated[
    int | None, typer.Option(help="Maximum tokens per text. Default: as the model was tuned, else 256.", min=8)
]
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16 (training only; scoring is fp32).")]


@contextlib.contextmanager
def running(*, resumable: bool = False, own_signals: bool = False) -> Iterator[Processors]:
    """Run a command: send library output to stderr, and turn an error into one line and an exit code.

    Each distinct `PoisonsieveWarning` also becomes one line on stderr. The command gets the processors as they are
    before the heavy libraries are imported; one that computes calls `share` on them, once its options are checked.

    Args:
        resumable: tell the user that an interrupted run can be continued.
        own_signals: the command handles SIGTERM itself; otherwise SIGTERM and SIGHUP end it like an interrupt.

    Raises:
        typer.Exit: with the exit code.
    """
    ending = contextlib.nullcontext() if own_signals else raising_ended()
    kept = "; run the same command again to resume" if resumable else ""
    try:
        with ending, contextlib.redirect_stdout(_Shown(sys.stderr)), hearing(_warn), _warnings_shown():
            _quiet_libraries()
            yield Processors()
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
        # The reader closed the pipe (`| head`). Nothing more can be printed, and work may be unfinished.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]
        raise typer.Exit(EXIT_BROKEN_PIPE) from None


def share(processors: Processors, *, quiet: bool = False, beside_load: bool = True) -> None:
    """Compute with as many threads as processors are free, and say on stderr how many these are (`Processors.share`)."""
    line = processors.share(beside_load=beside_load)
    if line is not None and not quiet:
        note(line)


def _warn(text: str) -> None:
    typer.echo(f"warning: {terminal.one_line(text)}", err=True)


def one_line(error: object) -> str:
    """Return an error as one line that is safe to print on a terminal, whatever its message contains."""
    return f"error: {terminal.one_line(error)}"


def print_result(value: dict[str, Any]) -> None:
    """Print one JSON object on the real stdout."""
    print_text(terminal.visible_json(value, indent=2, allow_nan=False) + "\n")


def print_line(line: str) -> None:
    """Print one line on the real stdout, with terminal control codes made visible."""
    print_text(terminal.visible(line) + "\n")


def print_text(text: str) -> None:
    """Print text on the real stdout in UTF-8, whatever the locale; on a terminal, control codes are made visible."""
    with stdout() as stream:
        text = terminal.visible(text) if stream.isatty() else text
        stream.buffer.write(text.encode("utf-8"))


def print_facts(title: str, facts: dict[str, Any]) -> None:
    """Print a two-column table for people on the real stdout."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), show_header=False, box=box.SIMPLE, title_justify="left")
    for name, value in facts.items():
        table.add_row(Text(name), Text(terminal.visible(str(value))))
    with stdout() as stream:
        console(stream).print(table)


def console(stream: TextIO, width: int = 140) -> Console:
    """Return a console for tables; in a pipe or a file, which have no width, `width` leaves room for long paths.

    Control codes in texts are made visible; the console's own colours stay.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Shown(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=terminal.visible(segment.text))

        def on_broken_pipe(self) -> None:
            """Let `running` handle a closed pipe; Rich would end the process itself."""
            raise BrokenPipeError

    return Shown(file=stream, width=None if stream.isatty() else width)


@contextlib.contextmanager
def stdout() -> Iterator[TextIO]:
    """Open the real stdout, and flush it at the end.

    Raises:
        OutputError: it cannot be written, for example to a file on a full disk.
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or the interpreter would try again at exit
        raise OutputError(f"cannot write to stdout: {error.strerror or error}") from error


def note(text: str) -> None:
    """Print a remark on stderr."""
    typer.echo(terminal.visible(text), err=True)


def require_extra(extra: str, *modules: str) -> None:
    """Tell the user what to install if the libraries of an extra are missing.

    Raises:
        ConfigError: one of the modules is not installed.
    """
    import importlib.util

    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"this needs {', '.join(missing)}; install poisonsieve[{extra}]")


def percent(rate: float) -> str:
    """Format a fraction as a percentage with one decimal."""
    return f"{100 * rate:.1f}%"


class _Shown(io.TextIOBase):
    """A stream for library output that makes control codes visible."""

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
