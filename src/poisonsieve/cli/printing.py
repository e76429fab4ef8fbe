"""Print results on the real stdout and remarks on stderr, with control codes of foreign text made visible."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

import typer

from poisonsieve import terminal
from poisonsieve.errors import OutputError
from poisonsieve.waiting import aside

if TYPE_CHECKING:
    from rich.console import Console


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
    stream = sys.__stdout__
    assert stream is not None  # noqa: S101 - only None under pythonw, where there is no command line
    try:
        with aside():
            yield stream
            stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or the interpreter would try again at exit
        raise OutputError(f"cannot write to stdout: {error.strerror or error}") from error


def note(text: str) -> None:
    """Print a remark on stderr."""
    with aside():
        typer.echo(terminal.visible(text), err=True)


def one_line(error: object) -> str:
    """Return an error as one line that is safe to print on a terminal, whatever its message contains."""
    return f"error: {terminal.one_line(error)}"


def percent(rate: float) -> str:
    """Format a fraction as a percentage with one decimal."""
    return f"{100 * rate:.1f}%"
