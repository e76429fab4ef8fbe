"""The table of a comparison: a row a defence, three columns an attack, and what a thousand texts cost.

Seeds are averaged; the intervals and every seed's figures are in the JSON.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from poisonsieve.bench.comparison.running import Cell

MISSING = "-"


@dataclass(frozen=True)
class Table:
    """Ready to print.

    Attributes:
        attacks: the attacks, in order; each heads the columns CA, ASR and AUROC.
        rows: defence, then three texts an attack, then the seconds.
    """

    attacks: list[str]
    rows: list[list[str]]


def make_table(cells: Sequence[Cell]) -> Table:
    """Percentages with one decimal, AUROC with three, seconds a thousand texts with one; "-" where there is none."""
    attacks = list(dict.fromkeys(cell.attack for cell in cells))
    defenses = list(dict.fromkeys(cell.defense for cell in cells))
    rows = []
    for defense in defenses:
        row = [defense]
        for attack in attacks:
            found = [cell for cell in cells if (cell.attack, cell.defense) == (attack, defense)]
            row += [_mean(found, "ca", 100, 1), _mean(found, "asr", 100, 1), _mean(found, "auroc", 1, 3)]
        mine = [cell for cell in cells if cell.defense == defense]
        rows.append([*row, _mean(mine, "seconds_per_1000", 1, 1)])
    return Table(attacks, rows)


def to_markdown(table: Table) -> str:
    """A GitHub table."""
    heads = ["defence"]
    for attack in table.attacks:
        heads += [f"{attack} CA", "ASR", "AUROC"]
    heads.append("s / 1,000 texts")
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def failures(cells: Sequence[Cell]) -> list[str]:
    """One line for every cell that could not be measured."""
    return [
        f"{cell.attack}, {cell.defense}, seed {cell.seed}: {cell.error}" for cell in cells if cell.error is not None
    ]


def _mean(cells: Sequence[Cell], key: str, scale: float, digits: int) -> str:
    if any(cell.result is None for cell in cells):
        return "failed"
    values = [cell.result[key] for cell in cells if cell.result is not None and cell.result.get(key) is not None]
    return f"{scale * statistics.mean(values):.{digits}f}" if values else MISSING
