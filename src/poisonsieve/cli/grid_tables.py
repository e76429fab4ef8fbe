"""A grid's table on the terminal there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poisonsieve.cli.printing import console, stdout
from poisonsieve.cli.tables import table_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from poisonsieve.bench.show.table import GridTable


def print_grid_table(made: GridTable, *, compare: bool, wide: bool) -> None:
    """Print a grid's table, folded by victims where the terminal is narrower; with `wide` all of it."""
    with stdout() as stream:
        out = console(stream, width=60 + 46 * len(made.victims))
        for drawn in grid_tables(made, out, compare=compare, wide=wide):
            out.width = max(out.width, _room(drawn, out)) if wide else out.width
            out.print(drawn)


def grid_tables(made: GridTable, out: Console, *, compare: bool, wide: bool) -> list[Table]:
    """Return the tables that show a grid's table: as few as fit the console, each with some of the victims."""
    from poisonsieve.bench.show.rendering import by_victims, left_out, measured, notes

    shown = made if wide else measured(made)
    says = [*notes(made, compare=compare), *left_out(made, shown)]

    def drawn(most: int) -> list[Table]:
        return [_grid_part(part, compare=compare) for part in by_victims(shown, most)]

    fitting = range(len(shown.victims), 1, -1) if not wide else ()
    most = next((n for n in fitting if all(_room(table, out) <= out.width for table in drawn(n))), 1)
    tables = drawn(len(shown.victims) if wide else most)
    tables[0].title, tables[0].title_justify = made.title, "left"
    tables[-1].caption = " ".join(says)
    return tables


def _room(drawn: Table, out: Console) -> int:
    """Return the columns that a table takes when nothing in it is wrapped."""
    return out.measure(drawn, options=out.options.update(max_width=10_000)).maximum


def _grid_part(part: GridTable, *, compare: bool) -> Table:
    from poisonsieve.bench.show.rendering import heads, lines

    two_lines = [head.replace(" CA", "\nCA").replace(" ASR", "\nASR") for head in heads(part)]
    return table_of(two_lines, lines(part, compare=compare), left=3, wrap=False)
