"""Render a grid's table as Markdown, CSV, LaTeX, or plain rows for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from poisonsieve.bench.show.table import FAILED, RATES, GridTable, Row
from poisonsieve.environment import require

#: The paper's names of columns and rows.
_NAMES = {
    "full": "Full-tuning",
    "lora": "LoRA",
    "prompt_tuning": "Prompt-tuning",
    "p_tuning_v1": "P-tuning v1",
    "p_tuning_v2": "P-tuning v2",
    "normal": "Normal",
    "none": "Attack",
    "back_translation": "Back Tr.",
    "onion": "ONION",
    "scpd": "SCPD",
    "psim": "PSIM",
    "fine_mixing": "Fine-mixing",
    "feature_shift": "Feature shift",
}
_AXES = ("dataset", "setting", "model", "attack", "defense")


def display_name(name: str) -> str:
    """Return a name of the grid as the paper writes it; unknown names stay."""
    return _NAMES.get(name, name)


def heads(table: GridTable) -> list[str]:
    """Return the column headers: three that identify a row, then CA and ASR of every victim."""
    columns = [f"{display_name(victim)} {rate.upper()}" for victim in table.victims for rate in RATES]
    return ["model", "scenario", "method", *columns]


def lines(table: GridTable, *, compare: bool = False) -> list[list[str]]:
    """Return the rows as texts, under `heads`."""
    several = len({row.dataset for row in table.rows}) > 1
    return [
        [
            f"{row.model} ({row.dataset}, {row.setting})" if several else row.model,
            display_name(row.attack),
            method(row, table),
            *(row.rates[victim][rate].text(compare=compare) for victim in table.victims for rate in RATES),
        ]
        for row in table.rows
    ]


def method(row: Row, table: GridTable) -> str:
    """Return the defence's name, with PSIM's tuning if the table has several; "Normal" for an un-poisoned model."""
    if row.defense == "none":
        return "Normal" if row.attack == "normal" else "Attack"
    several = len({other.variant for other in table.rows if other.variant}) > 1
    return (
        f"{display_name(row.defense)} ({display_name(row.variant)})"
        if row.variant and several
        else display_name(row.defense)
    )


def notes(table: GridTable, *, compare: bool = False) -> list[str]:
    """Return what a reader must know about the table, one sentence each."""
    found = ["CA and ASR in per cent, counted as docs/design/0001-metrics.md says."]
    if table.seeds > 1:
        found.append(f"Means over {table.seeds} seeds with the half width of the 95% interval (Student's t).")
    if compare:
        found.append("In brackets: the paper's value, and measured minus published, in points.")
        found += [f"Expect other values than the paper's ({'; '.join(table.beside)})."] * bool(table.beside)
    return found


def measured(table: GridTable) -> GridTable:
    """Return the table without rows and victims of which no cell has run, such as those that `--only` left out.

    A table of which nothing has run is returned whole.
    """

    def ran(row: Row, victim: str) -> bool:
        return any(rate.value is not None or rate.state == FAILED for rate in row.rates[victim].values())

    rows = [row for row in table.rows if any(ran(row, victim) for victim in table.victims)]
    victims = [victim for victim in table.victims if any(ran(row, victim) for row in rows)]
    return replace(table, rows=rows, victims=victims) if rows else table


def by_victims(table: GridTable, most: int) -> list[GridTable]:
    """Split the table into tables of at most `most` victims each, with the same rows."""
    groups = [table.victims[start : start + most] for start in range(0, len(table.victims), most)]
    return [replace(table, victims=victims) for victims in groups] or [table]


def left_out(table: GridTable, shown: GridTable) -> list[str]:
    """Return a sentence on what `shown` lacks of the table, if anything."""
    missing = len(table.rows) * len(table.victims) - len(shown.rows) * len(shown.victims)
    return [f"Not shown: {missing} of {len(table.rows) * len(table.victims)} cells, which have not been run."] * (
        missing > 0
    )


def to_markdown(table: GridTable, *, compare: bool = False) -> str:
    """Return a title, a GitHub table and the notes."""
    body = markdown_table(heads(table), lines(table, compare=compare), 3)
    return f"## {table.title}\n\n{body}\n{' '.join(notes(table, compare=compare))}\n"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Return a GitHub table, with its first `left` columns left-aligned and the others right-aligned."""
    aligned = [*["---"] * left, *["---:"] * (len(columns) - left)]
    return "".join("| " + " | ".join(row) + " |\n" for row in (columns, aligned, *rows))


def to_csv(table: GridTable) -> str:
    """Return one line per cell: its axes, its rates with their intervals, and the paper's values."""
    import pandas as pd

    records = []
    for row in table.rows:
        for victim in table.victims:
            first = row.rates[victim][RATES[0]]
            record = {"table": table.table, **{axis: getattr(row, axis) for axis in _AXES}, "victim_tuning": victim}
            record |= {"variant": row.variant, "state": "done" if first.value is not None else first.state}
            for name, rate in row.rates[victim].items():
                record |= {name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high}
                record |= {f"{name}_published": rate.published, f"{name}_difference": rate.difference}
            records.append(record)
    frame = pd.DataFrame(records).astype({"table": "Int64"})
    return frame.to_csv(index=False, float_format="%.2f", lineterminator="\n")


def to_latex(table: GridTable, *, compare: bool = False) -> str:
    """Return the paper's layout for booktabs and multirow; models and scenarios span all their rows.

    Raises:
        PoisonsieveError: jinja2 is not installed.
    """
    import pandas as pd

    require("report", "jinja2")
    texts = lines(table, compare=compare)
    names = [name.capitalize() for name in heads(table)[:3]]
    index = pd.MultiIndex.from_tuples([tuple(map(_tex, text[:3])) for text in texts], names=names)
    columns = [(_tex(display_name(victim)), rate.upper()) for victim in table.victims for rate in RATES]
    frame = pd.DataFrame(
        [list(map(_tex, text[3:])) for text in texts], index=index, columns=pd.MultiIndex.from_tuples(columns)
    )
    body = frame.style.to_latex(
        caption=_tex(f"{table.title}. {' '.join(notes(table, compare=compare))}"),
        clines="skip-last;data",
        column_format="lll" + "rr" * len(table.victims),
        environment="table*",
        hrules=True,
        multicol_align="c",
        multirow_align="t",
        position_float="centering",
    )
    return "% needs \\usepackage{booktabs, multirow}\n" + body


def _tex(text: str) -> str:
    """Escape LaTeX's special characters in `text`."""
    signs = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(signs.get(sign, rf"\{sign}" if sign in "&%$#_{}" else sign) for sign in text)
