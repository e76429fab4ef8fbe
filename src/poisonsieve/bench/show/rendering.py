"""Tables of a grid as Markdown, CSV and LaTeX, and as plain lines that a terminal draws."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from poisonsieve.bench.show.table import RATES, Figure, GridTable, Row

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
_CSV_COLUMNS = ("table", "dataset", "setting", "model", "attack", "defense", "victim_tuning", "variant")


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
    stream = io.StringIO()
    rates = [f"{rate}{end}" for rate in RATES for end in ("", "_low", "_high", "_published", "_difference")]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_CSV_COLUMNS, "state", *rates])
    for row in table.rows:
        for victim in table.victims:
            figures = [row.figures[victim][rate] for rate in RATES]
            state = "done" if figures[0].value is not None else figures[0].state
            where = [table.table, row.dataset, row.setting, row.model, row.attack, row.defense, victim, row.variant]
            writer.writerow([*where, state, *(entry for figure in figures for entry in _numbers(figure))])
    return stream.getvalue()


def to_latex(table: GridTable, *, compare: bool = False) -> str:
    """The paper's layout, for booktabs and multirow: models and scenarios are written once for all their rows."""
    victims = " & ".join(rf"\multicolumn{{2}}{{c}}{{{_tex(shown(victim))}}}" for victim in table.victims)
    rates = " & ".join("CA & ASR" for _ in table.victims)
    body = []
    texts = lines(table, compare=compare)
    for index, (model, scenario, *rest) in enumerate(texts):
        before = texts[index - 1] if index else ["", "", ""]
        new_model, new_scenario = model != before[0], model != before[0] or scenario != before[1]
        if index and new_scenario:
            body.append(r"\midrule" if new_model else rf"\cmidrule(l){{2-{3 + 2 * len(table.victims)}}}")
        body.append(
            " & ".join(
                [
                    _rows(model, sum(text[0] == model for text in texts)) if new_model else "",
                    _rows(scenario, sum(text[:2] == [model, scenario] for text in texts)) if new_scenario else "",
                    *map(_tex, rest),
                ]
            )
            + r" \\"
        )
    caption = _tex(f"{table.title}. {' '.join(notes(table, compare=compare))}")
    return "\n".join(
        [
            r"% needs \usepackage{booktabs, multirow}",
            r"\begin{table*}",
            r"\centering\small",
            rf"\begin{{tabular}}{{lll{'rr' * len(table.victims)}}}",
            r"\toprule",
            rf"Model & Scenario & Method & {victims} \\",
            rf" & & & {rates} \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{caption}}}",
            r"\end{table*}",
            "",
        ]
    )


def _rows(text: str, count: int) -> str:
    return rf"\multirow{{{count}}}{{*}}{{{_tex(text)}}}" if count > 1 else _tex(text)


def _tex(text: str) -> str:
    """`text` with LaTeX's own signs escaped."""
    signs = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(signs.get(sign, rf"\{sign}" if sign in "&%$#_{}" else sign) for sign in text)


def _numbers(figure: Figure) -> list[str]:
    values = (figure.value, figure.low, figure.high, figure.published, figure.difference)
    return ["" if value is None else f"{value:.2f}" for value in values]
