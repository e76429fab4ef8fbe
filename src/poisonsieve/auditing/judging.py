"""From findings to a verdict.

The statistic is the largest excess: the share of texts that one change turns on the audited model, less how far it moves
any clean model towards that class.
What a clean model shows is seen on the controls, each audited against the others; see `p_value`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from poisonsieve.auditing.result import Finding, Verdict

#: Bars for the two verdicts: share of texts turned, excess over the controls, p-value. See docs/guide/auditing.md.
POISONED = (0.9, 0.75, 0.01)
SUSPICIOUS = (0.75, 0.6, 0.05)
_LEAST_SCALE = 0.03  # of an exceedance: the rate of 40 texts is not known more closely

_BEHIND = 0.05  # accuracy that controls may lack against the audited model
_ABOVE_GUESSING = 0.1  # accuracy that a control needs beyond always answering the most frequent class
_FEWEST_VALUES = 20  # of clean models, for a p-value


def strongest_by_class(findings: Sequence[Finding]) -> dict[str, Finding]:
    """Return the finding of largest excess for each class, by class name."""
    best: dict[str, Finding] = {}
    for finding in sorted(findings, key=lambda finding: -finding.excess):
        best.setdefault(finding.target, finding)
    return best


def p_value(statistic: float, null: Sequence[float], tried: int) -> float:
    """Return how likely the largest excess of a clean model's findings is to reach the statistic.

    `null` pools every finding of every class of every control, each control audited against the others by the same search,
    as the audited model is against all of them. Beyond their median u, excesses are taken to be exponential. With the k
    largest exceeding it by m on average, one finding reaches x with probability ::

        S(x) = 1/2 * (1 + (x - u) / (k * m)) ** -k

    which allows for m being known from k values only (its tail is that of an F distribution with 2 and 2k degrees of
    freedom, and heavier than the exponential's). `tried` findings, taken to be independent, reach it with probability
    1 - (1 - S)^tried. Below u, the share of the pool above the statistic takes the place of S. Findings of one class
    resemble one another, and a control is audited against one control fewer than the audited model is and has no student, so
    this is a scale to compare by, and on the safe side; docs/results/audit.md has what clean models reached.

    Args:
        statistic: an excess.
        null: at least one value.
        tried: number of findings of the audited model.
    """
    values = np.sort(np.asarray(null, dtype=float))
    middle, upper = float(np.median(values)), values[len(values) // 2 :]
    if statistic <= middle:
        one = float((values >= statistic).mean())
    else:
        scale = max(float(upper.mean()) - middle, _LEAST_SCALE)
        one = 0.5 * (1 + (statistic - middle) / (len(upper) * scale)) ** -len(upper)
    return float(-np.expm1(tried * np.log1p(-min(one, 1 - 1e-12))))


def judge(findings: Sequence[Finding], null: Sequence[float]) -> tuple[Verdict, float, Finding]:
    """Return the verdict, its p-value and the finding that decides it: the one of largest excess that meets the bars."""
    ordered = sorted(findings, key=lambda finding: -finding.excess)
    bars: tuple[tuple[Verdict, tuple[float, float, float]], ...] = (
        ("poisoned", POISONED),
        ("suspicious", SUSPICIOUS),
    )
    for verdict, (turned, excess, most) in bars:
        for found in ordered:
            p = p_value(found.excess, null, len(findings))
            if found.turned >= turned and found.excess >= excess and p <= most:
                return verdict, p, found
    return "no sign found", p_value(ordered[0].excess, null, len(findings)), ordered[0]


def weaknesses(
    accuracy: float, control_accuracy: Sequence[float], null: Sequence[float], most_frequent: float
) -> tuple[str, ...]:
    """Return why the controls are a poor yardstick, if they are.

    Args:
        accuracy: of the audited model on the held-out texts.
        control_accuracy: of each control on the same texts.
        null: see `p_value`.
        most_frequent: share of the most frequent class among those texts.
    """
    lines = []
    worst, mean = min(control_accuracy), float(np.mean(control_accuracy))
    if worst < most_frequent + _ABOVE_GUESSING:
        lines.append(
            f"a clean model is right on {worst:.0%} of the held-out texts, and the most frequent class alone on "
            f"{most_frequent:.0%}: it knows too little of the task to be compared with; use more rows, or a better --base"
        )
    elif mean < accuracy - _BEHIND:
        lines.append(
            f"the clean models are right on {mean:.0%} of the held-out texts and the checkpoint on {accuracy:.0%}: words "
            "of the task that it learned and they did not look like triggers; use more rows, or a better --base"
        )
    if len(null) < _FEWEST_VALUES:
        lines.append(
            f"the p-value rests on {len(null)} values of clean models; a larger --budget trains more of them"
        )
    return tuple(lines)
