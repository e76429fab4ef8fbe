"""Many texts together: does a part of them stand apart from clean text, as the texts of a campaign would?

One text cannot give a sentence shape or a style away. Many texts with the same trigger can: they differ from clean text in
the same way. The texts' hidden states are compared with those of the guard's calibration rows by a two-sample test within
the predicted classes (`poisonsieve.guard.two_sample`), so that other shares of the classes are no finding.

Not everything that differs is an attack. Three facts tell a campaign from a change of the clean text itself:

- most of the traffic is as clean text is, so that there is a part which stands apart (`whole` otherwise);
- that part is several times what would stand out by chance (`spread` otherwise: everything has moved a little);
- nearly all of it has one predicted class, the attacker's target (`mixed` otherwise: clean text of another source has all).

Clean text of one class from another source has all three, and is taken for a campaign.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from poisonsieve.errors import ConfigError, DataError
from poisonsieve.guard.reference import Reading, Reference, read
from poisonsieve.guard.two_sample import PERMUTATIONS, Compared, compare
from poisonsieve.thresholds import DEFAULT_FRR, Threshold, gamma_for_frr

if TYPE_CHECKING:
    from poisonsieve.guard.guard import Guard
    from poisonsieve.models.classifier import Classifier
    from poisonsieve.models.overhearing import Overheard

#: `alike`: no difference found. `campaign`: a part stands apart, and is of one class. The others differ, and are none.
Finding = Literal["alike", "campaign", "mixed", "spread", "whole"]
FINDINGS: tuple[Finding, ...] = get_args(Finding)

#: Significance level of the two-sample test.
ALPHA = 0.01
#: Distinct texts that a comparison takes at least and at most, and calibration rows at least.
FEWEST_TEXTS, MOST_TEXTS, FEWEST_ROWS = 50, 20_000, 50
#: Above this share of the traffic that stands apart, it differs as a whole.
MOST_APART = 0.7
#: Texts above the bar, as a multiple of those expected of clean text.
TIMES_CHANCE = 3.0
#: Share of the texts above the bar, beyond those expected of clean text, that are of one class.
ONE_CLASS = 0.8


@dataclass(frozen=True, eq=False)
class Traffic:
    """What a comparison of n texts with clean text found.

    Attributes:
        finding: see `Finding`.
        p_value: of the two-sample test, exact under exchangeability: on text like the calibration rows, it is at most
            alpha in at most a share alpha of cases.
        texts: number of distinct texts compared.
        apart: estimated share of them that stands apart.
        bar: score above which texts stand out, from the calibration rows' own scores, at the guard's rate.
        scores: float64, shape (n,): how far a text looks like this traffic rather than clean text, by classifiers that
            were not fitted on it; NaN where it could not be read. Comparable within one comparison only.
        flagged: bool, shape (n,): above the bar and of the class, if `finding` is ``campaign``; else none.
        label: the class that the texts above the bar are mostly of; None if there are none.
        above, above_of_label: number of distinct texts above the bar, and of those with that class.
        by_class: of each predicted class, the number of distinct texts, and of those above the bar.
    """

    finding: Finding
    p_value: float
    texts: int
    apart: float
    bar: float
    scores: np.ndarray
    flagged: np.ndarray
    label: int | None
    above: int
    above_of_label: int
    by_class: tuple[tuple[int, int], ...]

    def to_dict(self, label_names: Sequence[str]) -> dict[str, Any]:
        """Return JSON-ready values for a summary: the sentence too, the texts' scores not."""
        facts = ("finding", "p_value", "texts", "apart", "bar", "label", "above", "above_of_label")
        values = {name: getattr(self, name) for name in facts}
        name = None if self.label is None else label_names[self.label]
        by_class = [
            {"label": label, "label_name": label_names[label], "texts": texts, "above": above}
            for label, (texts, above) in enumerate(self.by_class)
        ]
        flagged = int(self.flagged.sum())
        return {
            **values,
            "label_name": name,
            "by_class": by_class,
            "flagged": flagged,
            "says": self.says(label_names),
        }

    def says(self, label_names: Sequence[str]) -> str:
        """Return it as a sentence or two."""
        chance = f"p = {self.p_value:.3g}, {self.texts:,} texts compared"
        if self.finding == "alike":
            return f"Together the texts look like clean text ({chance})."
        name = "" if self.label is None else label_names[self.label]
        if self.finding == "campaign":
            return (
                f"Together {self.flagged.sum():,} texts are rejected: {self.above:,} stand apart from clean text, and the "
                f"model takes {self.above_of_label:,} of these for {name!r}, as it would texts with a trigger ({chance})."
            )
        left = "none is rejected for that; if this is your traffic now, calibrate the guard again"
        how = {
            "whole": f"The texts differ from the calibration text as a whole ({chance})",
            "spread": f"The texts differ a little from the calibration text, and no part of them stands apart ({chance})",
            "mixed": (
                f"About {100 * self.apart:.0f}% of the texts differ from the calibration text, in more than one class, as "
                f"text from another source does ({chance})"
            ),
        }
        return f"{how[self.finding]}; {left}."


def examine(
    guard: Guard,
    texts: Sequence[str],
    *,
    seed: int = 0,
    heard: Overheard | None = None,
    progress: str | None = None,
) -> Traffic:
    """Compare texts with the guard's calibration rows; repeated texts count once, and get the same score.

    Args:
        guard: a guard that keeps a reference of its calibration rows.
        texts: n texts, such as a file or the latest requests.
        seed: seed of folds and permutations.
        heard: what `hearing` this guard has left of the texts; the others are read.
        progress: description of a progress bar on stderr; None for none.

    Raises:
        ConfigError: the guard keeps no reference.
        DataError: there are too few or too many distinct texts that can be read.
    """
    network, reference = require_comparable(guard, texts)
    distinct = list(dict.fromkeys(texts))
    found = read(network, distinct, reference.layers, heard=heard, progress=progress)
    _require_number(int(found.known.sum()), "can be read")
    traffic = against(reference, found, guard.threshold_, seed=seed)
    places = {text: place for place, text in enumerate(distinct)}
    back = np.array([places[text] for text in texts], dtype=np.int64)
    return replace(traffic, scores=traffic.scores[back], flagged=traffic.flagged[back])


def hearing(guard: Guard, texts: Sequence[str]) -> contextlib.AbstractContextManager[Overheard]:
    """Listen to a guard at work on texts, so that `examine` need not read again what it reads as they are.

    Raises:
        ConfigError, DataError: see `require_comparable`.
    """
    from poisonsieve.models.overhearing import overhearing

    network, reference = require_comparable(guard, texts)
    return overhearing(network, reference.layers.tolist(), set(texts))


def against(
    reference: Reference,
    found: Reading,
    threshold: Threshold,
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    alpha: float = ALPHA,
) -> Traffic:
    """Compare what a network says of n distinct texts with what it says of clean rows.

    Args:
        reference: the clean rows.
        found: the texts.
        threshold: the guard's, for the rate of the bar.
        seed: seed of folds and permutations.
        permutations: number of permutations; where they exceed the usual number, they stop once the level is missed.
        alpha: significance level.
    """
    known, classes = found.known, found.classes[found.known]
    strata = np.concatenate([reference.classes, classes])
    level = alpha if permutations > PERMUTATIONS else None
    compared = compare(
        reference.states, found.states[known], strata, seed=seed, permutations=permutations, level=level
    )
    rate, bar = bar_of(compared.first, threshold)
    above = compared.second > bar
    totals = np.bincount(classes)
    counts = np.bincount(classes[above], minlength=len(totals))
    beyond = counts - rate * totals  # what chance does not explain, by class
    label = int(beyond.argmax()) if above.any() else None
    finding = _finding(compared, beyond, int(above.sum()) / (rate * len(classes)), alpha)
    scores, flagged = np.full(len(known), np.nan), np.zeros(len(known), dtype=bool)
    scores[known] = compared.second
    flagged[known] = above & (classes == label) & (finding == "campaign")
    return Traffic(
        finding=finding,
        p_value=compared.p_value,
        texts=len(classes),
        apart=compared.apart,
        bar=bar,
        scores=scores,
        flagged=flagged,
        label=label,
        above=int(above.sum()),
        above_of_label=0 if label is None else int(counts[label]),
        by_class=tuple(zip(totals.tolist(), counts.tolist(), strict=True)),
    )


def _finding(compared: Compared, beyond: np.ndarray, times_chance: float, alpha: float) -> Finding:
    """Judge a comparison; `beyond` counts the texts above the bar by class, less those that chance puts there."""
    if compared.p_value > alpha:
        return "alike"
    if compared.apart > MOST_APART:
        return "whole"
    if times_chance < TIMES_CHANCE:
        return "spread"
    return "campaign" if beyond.max() >= ONE_CLASS * beyond.sum() else "mixed"


def require_comparable(guard: Guard, texts: Sequence[str]) -> tuple[Classifier, Reference]:
    """Return the network and the reference that texts are compared by.

    Raises:
        ConfigError: see `comparable`.
        DataError: there are too few or too many distinct texts.
    """
    found = comparable(guard)
    _require_number(len(set(texts)), "are there")
    return found


def comparable(guard: Guard) -> tuple[Classifier, Reference]:
    """Return the network and the reference that a guard's traffic is compared by.

    Raises:
        ConfigError: the guard keeps no reference, or one of too few rows.
    """
    if guard.classifier is None or guard.reference_ is None:
        raise ConfigError(
            f"this {guard.detector.name} guard cannot compare texts together, as it keeps no hidden states of its "
            "calibration rows; fit it again, or another detector if its network returns none"
        )
    if (rows := len(guard.reference_.classes)) < FEWEST_ROWS:
        raise ConfigError(
            f"this guard keeps the hidden states of {rows} calibration rows, and comparing texts together takes "
            f"{FEWEST_ROWS}; calibrate it on more rows"
        )
    return guard.classifier, guard.reference_


def _require_number(texts: int, which: str) -> None:
    if not FEWEST_TEXTS <= texts <= MOST_TEXTS:
        raise DataError(
            f"{texts:,} different texts {which}, and {FEWEST_TEXTS:,} to {MOST_TEXTS:,} can be compared together; give "
            f"{'more' if texts < FEWEST_TEXTS else 'fewer'} at a time"
        )


def bar_of(clean: np.ndarray, threshold: Threshold) -> tuple[float, float]:
    """Return a rate, and the bar that this share of clean text exceeds on average, from the scores of clean rows.

    The rate is the guard's, or 1% where its gamma was fixed by hand, or what so few rows allow. As only texts of one class
    are flagged, clean text loses less.
    """
    asked = threshold.asked
    rate = max(asked["frr"] or asked["frr_mean"] or DEFAULT_FRR, 1 / len(clean))
    return rate, gamma_for_frr(clean, rate).gamma
