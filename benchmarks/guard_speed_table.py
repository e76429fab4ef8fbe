"""The table that guard_speed.py prints: what each way of guarding costs, beside what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from guard_quality import FRR, WANTED, Quality
from interleaved import Spread

VICTIM, PIPELINE, PUBLISHED = "victim alone", "transformers' pipeline", "PSIM, as published"
BY_OPENVINO = ", OpenVINO"  # after the name of a way that it computes


@dataclass(frozen=True)
class Row:
    """One way of working; spreads are of its seconds divided by the victim's own."""

    name: str
    passes: str
    one_text: Spread | None
    all_texts: Spread
    ms_a_text: float | None
    texts_per_s: float
    times_pipeline: float
    fit: Spread | None
    million_operations: float
    share_of_rate: float
    served_per_s: float | None = None


def row_of(saved: dict[str, Any]) -> Row:
    spreads = {
        key: value and Spread(**value) for key, value in saved.items() if key in ("one_text", "all_texts", "fit")
    }
    return Row(**{**saved, **spreads})


def table_of(rows: Sequence[Row], report: dict[str, Any], found: Sequence[Quality] = ()) -> str:
    columns = [column for column in WANTED if any(quality.column == column for quality in found)]
    served = any(row.served_per_s for row in rows)
    lines = [
        "| way | passes | one text: times the victim's time | 32 at a time: times the victim's time | ms a text, alone "
        "| texts/s | times the pipeline | fit / victim's tuning | million operations a text | share of the machine's rate |"
        + (" texts/s of the service |" if served else "")
        + "".join(f" {', '.join(column)} |" for column in columns),
        "|---" * (10 + served + len(columns)) + "|",
    ]
    lines += [
        f"| {row.name} | {row.passes} | {row.one_text or '-'} | {row.all_texts} | "
        f"{'-' if row.ms_a_text is None else f'{row.ms_a_text:.1f}'} | {row.texts_per_s:.0f} | {row.times_pipeline:.2f} | "
        f"{row.fit or '-'} | {row.million_operations:.0f} | {100 * row.share_of_rate:.0f}% |"
        + (f" {f'{row.served_per_s:.0f}' if row.served_per_s else '-'} |" if served else "")
        + "".join(f" {worst(row.name, column, found)} |" for column in columns)
        for row in rows
    ]
    if columns:
        lines += [
            "",
            f"The columns of data sets: AUROC / share of triggered rows detected at FRR {FRR}; of a way that "
            "reads the victim, for the victim on which it tells them worst ([all of them](guard_quality.md)).",
        ]
    facts = report["facts"]
    if served:
        lines += ["", f"The service answers {facts['clients']} clients, each of which waits for its answer."]
    if by_openvino := facts.get("beside_openvino"):
        beside = "; ".join(
            f"{name} {Spread(**spreads[0])}, {Spread(**spreads[1])}" for name, spreads in by_openvino.items()
        )
        lines += ["", f"Times the victim's time where OpenVINO computes that too (one text, 32 at a time): {beside}."]
    lines += [
        "",
        f"Medians with quartiles. Texts of {facts['tokens_median']:g} tokens (median; longest {facts['tokens_max']}). "
        f"Tuning the victim took {facts['tuning_seconds']:.0f} s. The machine multiplies large fp32 matrices at "
        f"{facts['gflop_per_s']:.0f} Gflop/s, those of this model's size at {100 * facts['rate_at_model_size']:.0f}% of "
        f"that; padding adds {100 * facts['padding_share']:.0f}% to the victim's operations, and tokenizing takes "
        f"{100 * facts['encoding_share']:.0f}% of its time.",
        "",
    ]
    lines += [
        f"{part}: " + ", ".join(f"{key} {value}" for key, value in report[part].items()) + "."
        for part in ("settings", "machine", "versions")
    ]
    return "\n".join([*lines, f"whole run: {report['seconds']:.0f} s."])


def worst(way: str, column: tuple[str, str], found: Sequence[Quality]) -> str:
    """The lowest AUROC of a way over the victims, and what is detected there."""
    name = "PSIM" if way == PUBLISHED else way.removesuffix(BY_OPENVINO)
    its = [quality for quality in found if (quality.way, quality.column) == (name, column)]
    lowest = min(its, key=lambda quality: quality.auroc, default=None)
    return "-" if lowest is None else f"{lowest.auroc:.3f} / {lowest.detected:.2f}"
