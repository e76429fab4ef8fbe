"""Tables of a grid as Markdown, CSV and LaTeX, and as plain lines that a terminal draws."""

from __future__ import annotations

from collections.abc import Sequence

from poisonsieve.bench.show.table import RATES, GridTable, Row
from poisonsieve.environment import require

#: How the paper heads its columns and names its rows.
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
}
_AXES = ("dataset", "setting", "model", "attack", "defense")


def shown(name: str) -> str:
    """A name of the grid as the paper writes it; unknown names stay."""
    return _NAMES.get(name, name)


def heads(table: GridTable) -> list[str]:
    """The columns' heads: three for where a row stands, then CA and ASR of every victim."""
    columns = [f"{shown(victim)} {rate.upper()}" for victim in table.victims for rate in RATES]
    return ["model", "scenario", "method", *columns]


def lines(table: GridTable, *, compare: bool = False) -> list[list[str]]:
    """The rows as texts, under `heads`."""
    several = len({row.dataset for row in table.rows}) > 1
    return [
        [
            f"{row.model} ({row.dataset}, {row.setting})" if several else row.model,
            shown(row.attack),
            method(row, table),
            *(row.figures[victim][rate].text(compare=compare) for victim in table.victims for rate in RATES),
        ]
        for row in table.rows
    ]


def method(row: Row, table: GridTable) -> str:
    """The defence's name, with PSIM's tuning where the table has several; of an un-poisoned model, Normal."""
    if row.defense == "none":
        return "Normal" if row.attack == "normal" else "Attack"
    several = len({other.variant for other in table.rows if other.variant}) > 1
    return f"{shown(row.defense)} ({shown(row.variant)})" if row.variant and several else shown(row.defense)


def notes(table: GridTable, *, compare: bool = False) -> list[str]:
    """What has to be known to read the table, a sentence each."""
    said = ["CA and ASR in per cent, counted as docs/design/0001-metrics.md says."]
    if table.seeds > 1:
        said.append(f"Means over {table.seeds} seeds with the half width of the 95% interval (Student's t).")
    if compare:
        said.append("In brackets: the paper's figure, and measured less published, in points.")
        said += [f"{pair}: other models, so other figures are to be expected." for pair in table.beside]
    return said


def to_markdown(table: GridTable, *, compare: bool = False) -> str:
    """A title, a GitHub table and the notes."""
    body = markdown_table(heads(table), lines(table, compare=compare), 3)
    return f"## {table.title}\n\n{body}\n{' '.join(notes(table, compare=compare))}\n"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A GitHub table, whose first `left` columns are set to the left and the others to the right."""
    aligned = [*["---"] * left, *["---:"] * (len(columns) - left)]
    return "".join("| " + " | ".join(row) + " |\n" for row in (columns, aligned, *rows))


def to_csv(table: GridTable) -> str:
    """One line a cell: where it stands, its rates with their intervals, and what the paper has beside them."""
    import pandas as pd

    records = []
    for row in table.rows:
        for victim in table.victims:
            first = row.figures[victim][RATES[0]]
            record = {"table": table.table, **{axis: getattr(row, axis) for axis in _AXES}, "victim_tuning": victim}
            record |= {"variant": row.variant, "state": "done" if first.value is not None else first.state}
            for rate, figure in row.figures[victim].items():
                record |= {rate: figure.value, f"{rate}_low": figure.low, f"{rate}_high": figure.high}
                record |= {f"{rate}_published": figure.published, f"{rate}_difference": figure.difference}
            records.append(record)
    frame = pd.DataFrame(records).astype({"table": "Int64"})
    return frame.to_csv(index=False, float_format="%.2f", lineterminator="\n")


def to_latex(table: GridTable, *, compare: bool = False) -> str:
    """The paper's layout, for booktabs and multirow: models and scenarios are written once for all their rows.

    Raises:
        PoisonsieveError: jinja2 is not installed.
    """
    import pandas as pd

    require("report", "jinja2")
    texts = lines(table, compare=compare)
    names = [name.capitalize() for name in heads(table)[:3]]
    index = pd.MultiIndex.from_tuples([tuple(map(_tex, text[:3])) for text in texts], names=names)
    columns = [(_tex(shown(victim)), rate.upper()) for victim in table.victims for rate in RATES]
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
    """`text` with LaTeX's own signs escaped."""
    signs = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(signs.get(sign, rf"\{sign}" if sign in "&%$#_{}" else sign) for sign in text)
