"""Print results as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poisonsieve.cli.printing import console, percent, stdout

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table

    from poisonsieve.metrics import Evaluation
    from poisonsieve.thresholds import Threshold

#: Short explanations of the table's terms.
_WORDS = (
    ("", ""),
    ("CA", "share of clean rows answered right; a rejected row counts as wrong"),
    ("ASR", "share of triggered rows that get the attacker's class; a rejected row counts as defended"),
    ("AUROC", "chance that a triggered row has a higher confidence than a clean one; 1 is perfect, 0.5 is guessing"),
    ("gamma", "the threshold: a text whose confidence is above it is rejected"),
)


def table_of(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: int = 1,
    title: str | None = None,
    wrap: bool = True,
) -> Table:
    """Return a table with a line under its heads.

    Args:
        heads: the heads of the columns.
        rows: the cells of each row.
        left: number of columns that are aligned at the left; the others are at the right.
        title: a line above.
        wrap: break the columns at the right too where the terminal is narrow.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for index, head in enumerate(heads):
        figures = index >= left
        table.add_column(head, justify="right" if figures else "left", no_wrap=figures and not wrap, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def print_evaluation(evaluation: Evaluation, threshold: Threshold) -> None:
    """Print CA and ASR without and with the guard, then the guard's own rates."""
    from rich.table import Table

    values = evaluation.to_dict()
    intervals = values["intervals"]

    def cell(name: str) -> str:
        interval = intervals[name]
        return f"{percent(values[name])} \\[{percent(interval['low'])}, {percent(interval['high'])}]"

    table = table_of(
        ("", "no guard", "guarded"),
        [
            (f"clean accuracy (CA), {evaluation.n_clean} rows", cell("ca"), cell("guarded_ca")),
            (f"attack success (ASR), {evaluation.n_triggered} rows", cell("asr"), cell("guarded_asr")),
        ],
        title="without and with the guard (95% intervals)",
    )
    rest = Table.grid(padding=(0, 0, 0, 2))
    rest.add_column(no_wrap=True)
    for name, value in (
        ("right answers lost (CA lost)", cell("ca_lost")),
        ("clean rows rejected (FRR)", cell("frr")),
        ("triggered rows caught (detection rate)", cell("detection_rate")),
        ("triggered rows let through (FAR)", cell("far")),
        ("AUROC", f"{evaluation.auroc:.4f}"),
        ("gamma", f"{threshold.gamma:.6g}. {threshold.describe()}"),
        *_WORDS,
    ):
        rest.add_row(name, value)
    with stdout() as stream:
        out = console(stream)
        out.print(table)
        out.print(rest)
