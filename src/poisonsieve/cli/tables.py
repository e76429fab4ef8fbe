"""Print results as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poisonsieve.cli.common import console, percent, stdout

if TYPE_CHECKING:
    from poisonsieve.metrics import Evaluation
    from poisonsieve.thresholds import Threshold


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
    with stdout() as stream:
        out = console(stream)
        out.print(table)
        out.print(f"  right answers lost (CA lost)            {cell('ca_lost')}")
        out.print(f"  clean rows rejected (FRR)               {cell('frr')}")
        out.print(f"  triggered rows caught (detection rate)  {cell('detection_rate')}")
        out.print(f"  triggered rows let through (FAR)        {cell('far')}")
        out.print(f"  AUROC                                   {evaluation.auroc:.4f}")
        out.print(f"  gamma                                   {threshold.gamma:.6g}. {threshold.describe()}")
