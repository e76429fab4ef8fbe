"""A comparison with the goal as Markdown that also reads well in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from poisonsieve.bench.results import TOOK
from poisonsieve.bench.show.rendering import display_name
from poisonsieve.yardstick.goal import MOST_EXCESS, MOST_LOST, Goal, Share

_HEADS = {"labels": "label mode", "classes": "classes", "dataset": "data set"}


def goal_markdown(goal: Goal) -> str:
    """Return the headline, its parts, and the attacks that did not take."""
    sentences = [
        f"A cell is within the goal when its excess ASR is at most {100 * MOST_EXCESS:g} point and it costs at most "
        f"{100 * MOST_LOST:g} point of CA.",
        "Excess ASR is the guarded ASR less what an un-poisoned victim sends to the target on the same rows.",
        f"Counted are attacks that took (theta_p's ASR on dev rows at least {100 * TOOK:g}%).",
        "Intervals: 95%, bootstrap over attacks and seeds.",
    ]
    parts = [_table(["defence"], goal.defenses)]
    parts += [
        f"### By {_HEADS.get(name, name)}\n\n{_table(['defence', _HEADS.get(name, name)], shares)}"
        for name, shares in goal.parts.items()
        if len({share.group[1] for share in shares}) > 1
    ]
    if goal.not_taken:
        parts.append("### Did not take, and not counted\n\n" + _not_taken(goal))
    if goal.without_floor:
        sentences.append(
            f"{goal.without_floor} finished cells have no un-poisoned victim to compare with, and are not counted."
        )
    return "\n\n".join([" ".join(sentences), *parts]) + "\n"


def _table(heads: Sequence[str], shares: Sequence[Share]) -> str:
    if not shares:
        return "No cell that took has been measured."
    columns = [*heads, "within the goal", "95% interval", "cells", "excess ASR", "CA lost"]
    rows = [[*map(display_name, share.group), *_figures(share)] for share in shares]
    return _grid(columns, rows, texts=len(heads))


def _figures(share: Share) -> list[str]:
    if share.share is None or share.low is None or share.high is None:
        return ["-", "-", "0", "-", "-"]
    return [
        f"{share.share:.0%}",
        f"{share.low:.0%} to {share.high:.0%}",
        str(share.cells),
        f"{100 * (share.excess or 0):.1f}",
        f"{100 * (share.ca_lost or 0):.1f}",
    ]


def _not_taken(goal: Goal) -> str:
    rows = [
        [
            str(entry["dataset"]),
            str(entry["model"]),
            str(entry["attack"]),
            str(entry["seed"]),
            "not measured" if entry["dev_asr"] is None else f"{100 * entry['dev_asr']:.1f}",
        ]
        for entry in goal.not_taken
    ]
    return _grid(["data set", "model", "attack", "seed", "theta_p's dev ASR"], rows, texts=3)


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """Return a Markdown table with aligned columns, the first `texts` of them to the left."""
    widths = [max(len(row[place]) for row in (heads, *rows)) for place in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if place < texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if place < texts else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    return "\n".join([line(heads), line(rule), *map(line, rows)])
