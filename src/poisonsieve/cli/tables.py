"""Print results as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poisonsieve.cli.common import console, percent, stdout

if TYPE_CHECKING:
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


def print_evaluation(evaluation: Evaluation, threshold: Threshold) -> None:
    """Print CA and ASR without and with the guard, then the guard's own rates."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title="without and with the guard (95% intervals)", title_justify="left")
    for column in ("", "no guard", "guarded"):
        table.add_column(column, justify="left" if not column else "right")
    values = evaluation.to_dict()
    intervals = values["intervals"]

    def cell(name: str) -> str:
        interval = intervals[name]
        return f"{percent(values[name])} \\[{percent(interval['low'])}, {percent(interval['high'])}]"

    table.add_row(f"clean accuracy (CA), {evaluation.n_clean} rows", cell("ca"), cell("guarded_ca"))
    table.add_row(f"attack success (ASR), {evaluation.n_triggered} rows", cell("asr"), cell("guarded_asr"))
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
