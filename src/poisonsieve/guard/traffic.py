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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from poisonsieve.errors import ConfigError, DataError
from poisonsieve.guard.reference import Reference, read
from poisonsieve.guard.two_sample import Compared, compare
from poisonsieve.thresholds import DEFAULT_FRR, Threshold, gamma_for_frr

if TYPE_CHECKING:
    from poisonsieve.guard.guard import Guard
    from poisonsieve.models.classifier import Classifier

#: `alike`: no difference found. `campaign`: a part stands apart, and is of one class. The others differ, and are none.
Finding = Literal["alike", "campaign", "mixed", "spread", "whole"]

#: Significance level of the two-sample test.
ALPHA = 0.01
#: Distinct texts that a comparison takes at least and at most.
FEWEST_TEXTS, MOST_TEXTS = 50, 20_000
#: Above this share of the traffic that stands apart, it differs as a whole.
MOST_APART = 0.5
#: Texts above the bar, as a multiple of those expected of clean text.
TIMES_CHANCE = 3.0
#: Share of the texts above the bar, beyond those expected of clean text, that are of one class.
ONE_CLASS = 0.8


@dataclass(frozen=True, eq=False)
class Traffic:
    """What a comparison of n texts with clean text found.

    Attributes:
        finding: see `Finding`.
        p_value: of the two-sample test, exact under exchangeability; False alarms on text like the calibration rows come
            at most as often as `ALPHA`.
        texts: number of distinct texts compared.
        apart: estimated share of them that stands apart.
        bar: score above which texts stand out, from the calibration rows' own scores, at the guard's rate.
        scores: float64, shape (n,): how far a text looks like this traffic rather than clean text, by classifiers that
            were not fitted on it; NaN where it could not be read. Comparable within one comparison only.
        flagged: bool, shape (n,): above the bar and of the class, if `finding` is ``campaign``; else none.
        label: the class that the texts above the bar are mostly of; None if there are none.
        above, above_of_label: number of distinct texts above the bar, and of those with that class.
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

    def to_dict(self, label_names: Sequence[str]) -> dict[str, Any]:
        """Return JSON-ready values for a summary: the sentence too, the texts' scores not."""
        facts = ("finding", "p_value", "texts", "apart", "bar", "label", "above", "above_of_label")
        values = {name: getattr(self, name) for name in facts}
        name = None if self.label is None else label_names[self.label]
        return {**values, "label_name": name, "flagged": int(self.flagged.sum()), "says": self.says(label_names)}

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


def examine(guard: Guard, texts: Sequence[str], *, seed: int = 0, progress: str | None = None) -> Traffic:
    """Compare texts with the guard's calibration rows; repeated texts count once, and get the same score.

    Args:
        guard: a guard that keeps a reference of its calibration rows.
        texts: n texts, such as a file or the latest requests.
        seed: seed of folds and permutations.
        progress: description of a progress bar on stderr; None for none.

    Raises:
        ConfigError: the guard keeps no reference.
        DataError: there are too few or too many distinct texts that can be read.
    """
    network, reference = require_comparable(guard, texts)
    distinct = list(dict.fromkeys(texts))
    places = {text: place for place, text in enumerate(distinct)}
    found = read(network, distinct, reference.layers, progress=progress)
    _require_number(int(found.known.sum()), "can be read")
    classes = found.classes[found.known]
    strata = np.concatenate([reference.classes, classes])
    compared = compare(reference.states, found.states[found.known], strata, seed=seed)
    judged = _judged(compared, classes, guard.threshold_)
    back = np.array([places[text] for text in texts], dtype=np.int64)
    return Traffic(
        **judged,
        texts=len(classes),
        scores=_spread_out(compared.second, found.known, np.nan)[back],
        flagged=_spread_out(_flagged(compared, classes, judged), found.known, False)[back],
    )


def require_comparable(guard: Guard, texts: Sequence[str]) -> tuple[Classifier, Reference]:
    """Return the network and the reference that texts are compared by.

    Raises:
        ConfigError: the guard keeps no reference.
        DataError: there are too few or too many distinct texts.
    """
    if guard.classifier is None or guard.reference_ is None:
        raise ConfigError(
            f"this {guard.detector.name} guard cannot compare texts together, as it keeps no hidden states of its "
            "calibration rows; fit it again, or another detector if its network returns none"
        )
    _require_number(len(set(texts)), "are there")
    return guard.classifier, guard.reference_


def _require_number(texts: int, which: str) -> None:
    if not FEWEST_TEXTS <= texts <= MOST_TEXTS:
        raise DataError(
            f"{texts:,} different texts {which}, and {FEWEST_TEXTS:,} to {MOST_TEXTS:,} can be compared together; give "
            f"{'more' if texts < FEWEST_TEXTS else 'fewer'} at a time"
        )


def _judged(compared: Compared, classes: np.ndarray, threshold: Threshold) -> dict[str, Any]:
    """Return the finding and the facts that it rests on, as `Traffic` has them."""
    rate, bar = bar_of(compared.first, threshold)
    above = compared.second > bar
    counts = np.bincount(classes[above], minlength=int(classes.max()) + 1)
    shares = np.bincount(classes) / len(classes)
    beyond = counts - rate * len(classes) * shares  # what chance does not explain, a class
    label = int(beyond.argmax()) if above.any() else None
    apart = max(0.0, 1 - 2 * float((compared.second < np.median(compared.first)).mean()))
    finding: Finding = "campaign"
    if compared.p_value > ALPHA:
        finding = "alike"
    elif apart > MOST_APART:
        finding = "whole"
    elif above.sum() < TIMES_CHANCE * rate * len(classes):
        finding = "spread"
    elif beyond.max() < ONE_CLASS * beyond.sum():
        finding = "mixed"
    return {
        "finding": finding,
        "p_value": compared.p_value,
        "apart": apart,
        "bar": bar,
        "label": label,
        "above": int(above.sum()),
        "above_of_label": 0 if label is None else int(counts[label]),
    }


def bar_of(clean: np.ndarray, threshold: Threshold) -> tuple[float, float]:
    """Return a rate, and the bar that this share of clean text exceeds on average, from the scores of clean rows.

    The rate is the guard's, or 1% where its gamma was fixed by hand, or what so few rows allow. As only texts of one class
    are flagged, clean text loses less.
    """
    asked = threshold.asked
    rate = max(asked["frr"] or asked["frr_mean"] or DEFAULT_FRR, 1 / len(clean))
    return rate, gamma_for_frr(clean, rate).gamma


def _flagged(compared: Compared, classes: np.ndarray, judged: dict[str, Any]) -> np.ndarray:
    if judged["finding"] != "campaign":
        return np.zeros(len(classes), dtype=bool)
    flagged: np.ndarray = (compared.second > judged["bar"]) & (classes == judged["label"])
    return flagged


def _spread_out(values: np.ndarray, known: np.ndarray, otherwise: Any) -> np.ndarray:
    """Put values of the known places among those of all, where `otherwise` stands."""
    every = np.full(len(known), otherwise, dtype=values.dtype)
    every[known] = values
    return every
