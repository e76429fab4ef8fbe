"""What the paper printed: every CA and ASR of its Tables 1 to 10 (Zhao et al. 2024), as data of this package.

`published/tables.csv` holds figures only: percentages by table, data set, setting, model, attack, defence, the victim's
tuning and PSIM's. An empty `asr` means that the paper prints none.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from poisonsieve.bench.spec import NONE, NORMAL


@dataclass(frozen=True)
class Published:
    """One cell of the paper.

    Attributes:
        ca, asr: percentages as printed; None where none is.
    """

    ca: float | None
    asr: float | None


#: Where a figure stands: model, attack, defence, the victim's tuning, PSIM's tuning; the last two empty where there is none.
Key = tuple[str, str, str, str, str]


@functools.cache
def published_table(table: int) -> Mapping[Key, Published]:
    """The figures of one table, by where they stand; empty for a table that the paper does not have."""
    text = files("poisonsieve.bench").joinpath("published/tables.csv").read_text(encoding="utf-8")
    return {
        (row["model"], row["attack"], row["defense"], row["victim_tuning"], row["psim_tuning"]): Published(
            _number(row["ca"]), _number(row["asr"])
        )
        for row in csv.DictReader(text.splitlines())
        if row["table"] == str(table)
    }


def published_for(
    table: int | None, *, model: str, attack: str, defense: str, victim: str, psim: str | None
) -> Published | None:
    """What the paper printed for a cell, by the grid's own names; None where it has no such cell.

    The paper calls an un-poisoned and undefended model its normal one, and names no attack for it.
    """
    if table is None:
        return None
    clean = attack == NORMAL
    key = (model, "" if clean else attack, NORMAL if clean and defense == NONE else defense, victim, psim or "")
    return published_table(table).get(key)


def _number(text: str) -> float | None:
    return float(text) if text else None
