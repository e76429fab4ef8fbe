"""Gamma: the threshold above which a confidence marks a row as poisoned.

A defender has no triggered rows, so gamma is either a fixed number, as in the paper, or a quantile of clean held-out
scores that keeps false rejections to a rate chosen by the user. A rate is kept to in one of two ways:

- as a promise (`frr`): with 95% confidence, this one guard rejects no more than that share of clean text;
- on average (`frr_mean`): the mean over all calibration sets that might have been drawn. Nearly half of them do worse.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from poisonsieve.errors import CalibrationError, ConfigError

Rule = Literal["fixed", "frr"]
#: The ways to ask for a threshold, of which one is given: see `poisonsieve.guard.calibration.Calibration.choose`.
RULES = ("frr", "frr_mean", "gamma")
#: The share of calibration sets that keep a promised rate.
CONFIDENCE = 0.95
#: In place of a rate: promise `DEFAULT_FRR`, or the lowest rate that the rows can promise, up to `HIGHEST_DEFAULT_FRR`.
AUTO: Literal["auto"] = "auto"
DEFAULT_FRR, HIGHEST_DEFAULT_FRR = 0.01, 0.05


@dataclass(frozen=True)
class Threshold:
    """A threshold and how it was found.

    Attributes:
        gamma: the threshold; rows whose confidence is above it are flagged.
        rule: ``fixed`` (given by hand) or ``frr`` (from held-out clean rows).
        frr: the false-rejection rate that is kept to, a fraction; None for ``fixed``.
        n_calibration: number of clean rows from which gamma was found; None for ``fixed``.
        frr_interval: the range that contains the true false-rejection rate in 95% of calibrations, as fractions; None
            for ``fixed``.
        frr_confidence: the share of calibration sets that keep to `frr`; None where it is kept to on average only,
            and for ``fixed``.
    """

    gamma: float
    rule: Rule
    frr: float | None = None
    n_calibration: int | None = None
    frr_interval: tuple[float, float] | None = None
    frr_confidence: float | None = None

    @property
    def promise(self) -> str:
        """What is promised about clean text, in a few words: ``at most 1% of clean text rejected, with 95% confidence``."""
        if self.frr is None or self.n_calibration is None:
            return "no rate, since gamma was fixed by hand"
        rate = f"{100 * self.frr:.4g}% of clean text rejected"
        if self.frr_confidence is None:
            return f"{rate} on average over calibrations ({self.n_calibration:,} rows)"
        return f"at most {rate}, with {100 * self.frr_confidence:.4g}% confidence ({self.n_calibration:,} rows)"

    def describe(self) -> str:
        """Describe in one sentence how gamma was found, for reports and logs."""
        if self.frr is None or self.frr_interval is None:
            return "Fixed by hand, whatever share of clean rows that rejects."
        low, high = self.frr_interval
        how = "on average" if self.frr_confidence is None else f"with {100 * self.frr_confidence:.4g}% confidence"
        return (
            f"From {self.n_calibration:,} held-out clean rows, for at most {100 * self.frr:.4g}% of clean rows "
            f"rejected {how}; with this many rows, expect between {_percent(low)} and {_percent(high)}."
        )

    @property
    def asked(self) -> dict[str, float | None]:
        """The request that led to this threshold: `frr`, `frr_mean` and `gamma`, two of them None."""
        promised = self.frr_confidence is not None
        return {
            "frr": self.frr if promised else None,
            "frr_mean": None if promised else self.frr,
            "gamma": self.gamma if self.rule == "fixed" else None,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict that `from_dict` turns back into an equal threshold."""
        values = asdict(self)
        values["frr_interval"] = None if self.frr_interval is None else list(self.frr_interval)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the result of `to_dict`.

        Raises:
            ConfigError: a key is unknown or missing, gamma is not a finite number, or the rule is unknown.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ConfigError(f"threshold has unknown keys: {', '.join(unknown)}; remove them")
        gamma, rule, interval = values.get("gamma"), values.get("rule"), values.get("frr_interval")
        if isinstance(gamma, bool) or not isinstance(gamma, int | float) or not math.isfinite(gamma):
            raise ConfigError(f"threshold gamma is {gamma!r}; it must be a finite number")
        if rule not in ("fixed", "frr"):
            raise ConfigError(f"threshold rule is {rule!r}; it must be fixed or frr")
        if rule == "frr" and (values.get("frr") is None or values.get("n_calibration") is None or interval is None):
            raise ConfigError("threshold rule is frr; it needs frr, n_calibration and frr_interval")
        return cls(**{**values, "gamma": float(gamma), "frr_interval": None if interval is None else tuple(interval)})


def rule_of(
    *, frr: float | Literal["auto"] | None = None, frr_mean: float | None = None, gamma: float | None = None
) -> dict[str, Any]:
    """Return the one rule that is given, by its name; empty if none is. ``auto`` gives way to any other.

    Raises:
        ConfigError: several are given.
    """
    given = {"frr": frr, "frr_mean": frr_mean, "gamma": gamma}
    found = {key: value for key, value in given.items() if value is not None}
    if len(found) > 1 and frr == AUTO:
        del found["frr"]
    if len(found) > 1:
        options = " and ".join(f"--{name.replace('_', '-')}" for name in found)
        every = "both" if len(found) == 2 else "all"
        raise ConfigError(f"{options} {every} set the threshold; give exactly one of them")
    return found


def _percent(rate: float) -> str:
    """Format a rate with two significant digits, and more near 100%: 0.48%, 1.7%, 97%, 99.98%."""
    value = 100 * rate
    return f"{value:.2g}%" if value < 99 else f"{value:.4g}%"


def is_flagged(scores: npt.ArrayLike, gamma: float | npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Flag rows whose confidence is above gamma, unrounded, or not finite.

    This is the project's only comparison with gamma (Zhao et al. 2024, Algorithm 1). Scores are widened to 64 bits
    first, so that gamma is never rounded to the scores' own precision.

    Args:
        scores: confidences, floats of any shape.
        gamma: one threshold, or an array that broadcasts against `scores`, as in ``gammas[:, None]``.

    Returns:
        Booleans of the broadcast shape.

    Raises:
        ConfigError: gamma is not a number, which would flag nothing.
    """
    bar = np.asarray(gamma, dtype=np.float64)
    if np.isnan(bar).any():
        raise ConfigError("gamma is not a number; give a bar such as 0.7")
    confidences = np.asarray(scores, dtype=np.float64)
    flagged: npt.NDArray[np.bool_] = ~np.isfinite(confidences) | (confidences > bar)
    return flagged


def fixed_gamma(gamma: float, lowest: float = 0.0, highest: float = 1.0) -> Threshold:
    """Return a threshold given by hand; the paper's is 0.7, for some models 0.75.

    Args:
        gamma: the threshold.
        lowest: lower bound of the scores; by default that of a softmax probability.
        highest: upper bound of the scores.

    Raises:
        ConfigError: gamma is not a finite number in [lowest, highest): at the highest score nothing exceeds it.
    """
    if not (_is_number(gamma) and math.isfinite(gamma) and lowest <= gamma < highest):
        if (lowest, highest) == (0.0, 1.0):
            raise ConfigError(f"gamma is {gamma}; a fixed gamma must be at least 0 and below 1 (the paper's is 0.7)")
        raise ConfigError(
            f"gamma is {gamma}; these scores lie between {lowest:g} and {highest:g}, and a fixed gamma must be a "
            f"finite number of that range below {highest:g}"
        )
    return Threshold(float(gamma), "fixed")


def gamma_for_frr(clean_scores: npt.ArrayLike, frr: float, *, confidence: float | None = None) -> Threshold:
    """Find the lowest threshold that keeps false rejections of clean rows to `frr`, on average or with confidence.

    Gamma is the m-th largest of n scores. If the rows are held out (the guard never trained on them) and exchangeable
    with the clean rows to come, then the false-rejection rate of a single calibration set follows Beta(m, n + 1 - m)
    without ties; with ties it is no larger, since a tie with gamma is not flagged. Its central 95% range is
    `frr_interval`.

    - On average (`confidence` None): m = floor((n + 1) frr), the split-conformal quantile. P(a new clean row is
      flagged) <= frr, over the joint draw of calibration rows and new row, for any distribution of scores.
    - With confidence: m is the largest with P(Beta(m, n + 1 - m) <= frr) >= confidence. In that share of calibration
      sets no more than `frr` of all clean rows is flagged.

    If the m largest scores tie (confidences that saturate at 1.0), gamma is the largest score: the guarantee holds, but
    only a score above all calibration scores is flagged.

    Args:
        clean_scores: confidences of held-out clean rows, floats (n,).
        frr: the share of clean rows that may be flagged, in (0, 1).
        confidence: the share of calibration sets that must keep to `frr`, in (0, 1). None: on average.

    Raises:
        ConfigError: `frr` or `confidence` is not in (0, 1).
        CalibrationError: there are fewer rows than this rate needs, or some have no finite score.
    """
    needed = rows_needed(frr, confidence)
    scores = np.asarray(clean_scores, dtype=np.float64)
    if scores.ndim != 1:
        raise CalibrationError(f"calibration scores have shape {scores.shape}; give one score a row")
    unscored = int((~np.isfinite(scores)).sum())
    if unscored:
        raise CalibrationError(
            f"{unscored} of {scores.size} calibration rows have no finite score; remove those rows"
        )
    n = scores.size
    if n < needed:
        raise CalibrationError(f"{too_few(frr, n, confidence)}; give more rows or {other_rates(frr, n, confidence)}")
    may_exceed = _may_exceed(frr, n, confidence)
    k = n + 1 - may_exceed
    gamma = float(np.partition(scores, k - 1)[k - 1])
    return Threshold(gamma, "frr", float(frr), n, _frr_interval(may_exceed, k), confidence)


def gamma_with_traffic(
    clean_scores: npt.ArrayLike,
    frr: float,
    *,
    confidence: float | None = None,
    passed: int,
    above: npt.ArrayLike,
    gamma: float,
) -> Threshold:
    """Apply `gamma_for_frr` to calibration rows and clean traffic together, with the traffic's scores partly unknown.

    For clean texts that passed at the threshold `gamma` the scores are unknown; each counts as `gamma`, the highest
    possible score. So the result is never below the exact threshold, and equals it whenever that is above `gamma`.

    Args:
        clean_scores: confidences of held-out clean rows, floats (n,).
        frr: the share of clean rows that may be flagged, in (0, 1).
        confidence: see `gamma_for_frr`.
        passed: number of clean texts in the traffic that scored `gamma` or less.
        above: confidences of all others, floats (m,).
        gamma: the threshold that was in force.

    Raises:
        ConfigError, CalibrationError: see `gamma_for_frr`; also if `above` contains a score that is not above `gamma`.
    """
    tail = np.asarray(above, dtype=np.float64)
    if passed < 0 or not (tail > gamma).all():
        raise CalibrationError("traffic above gamma holds a confidence that is not above it; the counts are damaged")
    known = gamma_for_frr(clean_scores, frr, confidence=confidence)  # checks rows and rate
    scores = np.concatenate([np.asarray(clean_scores, dtype=np.float64), tail])
    n = scores.size + passed
    may_exceed = _may_exceed(frr, n, confidence)
    falling = -np.sort(-scores[scores > gamma])
    bar = float(falling[may_exceed - 1]) if may_exceed <= falling.size else gamma
    return replace(known, gamma=bar, n_calibration=n, frr_interval=_frr_interval(may_exceed, n + 1 - may_exceed))


def rows_needed(frr: float, confidence: float | None = None) -> int:
    """Return the fewest clean calibration rows for which `gamma_for_frr` finds a threshold.

    That is ceil(1 / frr) - 1 on average, and ceil(log(1 - confidence) / log(1 - frr)) with confidence: 99 and 299 rows
    for 1%.

    Raises:
        ConfigError: `frr` or `confidence` is not in (0, 1).
    """
    exact = _exact(frr)
    if confidence is None:
        return math.ceil(1 / exact) - 1
    _check_confidence(confidence)
    return math.ceil(math.log1p(-confidence) / math.log1p(-float(exact)))


def lowest_frr(rows: int, confidence: float = CONFIDENCE) -> float | None:
    """Return the lowest rate that this many rows can promise, rounded up to two digits: 0.0095 of 315; None of no rows.

    At that rate gamma is the largest calibration score.

    Raises:
        ConfigError: `confidence` is not in (0, 1).
    """
    _check_confidence(confidence)
    if rows < 1:
        return None
    lowest = -math.expm1(math.log1p(-confidence) / rows)
    unit = 10.0 ** (math.floor(math.log10(lowest)) - 1)
    rounded = float(f"{math.ceil(lowest / unit) * unit:.2g}")
    return rounded if rounded < 1 else None


def default_frr(rows: int) -> float:
    """Return the rate promised where the user names none: 1%, or the lowest that the rows can promise, up to 5%.

    Raises:
        CalibrationError: there are too few rows to promise even that.
    """
    lowest = lowest_frr(rows)
    if lowest is None or lowest > HIGHEST_DEFAULT_FRR:
        raise CalibrationError(
            f"{too_few(HIGHEST_DEFAULT_FRR, rows, CONFIDENCE)}; give more rows or "
            f"{other_rates(HIGHEST_DEFAULT_FRR, rows, CONFIDENCE)}"
        )
    return max(DEFAULT_FRR, lowest)


def frr_to_be_sure(frr: float, rows: int, confidence: float = CONFIDENCE) -> float:
    """Return the mean rate of a guard that keeps to `frr` with `confidence`, as the shortest decimal.

    Requested from `gamma_for_frr` on average, it gives the same gamma. It is the share of clean text that such a guard
    is to be expected to reject.

    Args:
        frr: the share of clean rows that may be flagged, in (0, 1).
        rows: calibration rows n.
        confidence: the share of calibration sets that must keep to it, in (0, 1).

    Raises:
        ConfigError: `frr` or `confidence` is not in (0, 1).
        CalibrationError: there are too few rows, whatever rate is requested.
    """
    if rows < rows_needed(frr, confidence):
        raise CalibrationError(
            f"{too_few(frr, rows, confidence)}; give more rows or {other_rates(frr, rows, confidence)}"
        )
    may_exceed = _may_exceed(frr, rows, confidence)
    for digits in range(1, 18):  # at 17 digits any two of the shares differ
        asked = Fraction(math.ceil(Fraction(may_exceed, rows + 1) * 10**digits), 10**digits)
        if asked < Fraction(may_exceed + 1, rows + 1):
            break
    return float(asked)


def too_few(frr: float, rows: int, confidence: float | None) -> str:
    """Say that there are too few rows for a rate, and how many it takes: the beginning of an error."""
    needed = f"at least {rows_needed(frr, confidence):,} held-out clean rows and there are {rows:,}"
    if confidence is None:
        return f"a false-rejection rate of {frr:g} needs {needed}"
    return f"to be {100 * confidence:g}% sure of a false-rejection rate of at most {frr:g} takes {needed}"


def other_rates(frr: float, rows: int, confidence: float | None) -> str:
    """Say which rate these rows would do for: the end of an error."""
    if confidence is None:
        return "a higher rate"
    lowest = lowest_frr(rows, confidence)
    higher = "a higher rate" if lowest is None else f"a rate of {lowest:g}, the lowest that {rows:,} rows can promise"
    return f"{higher}; {frr:g} on average (frr_mean) takes {rows_needed(frr):,}"


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _exact(frr: float) -> Fraction:
    """Return the decimal that the user wrote rather than its binary approximation, so that 0.01 of 100 is exactly 1."""
    if not _is_number(frr) or not 0 < frr < 1:
        raise ConfigError(f"the false-rejection rate is {frr}; it must be above 0 and below 1 (0.01 is 1%)")
    return Fraction(str(float(frr)))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"the confidence is {confidence}; it must be above 0 and below 1 (0.95 is 95%)")


def _may_exceed(frr: float, rows: int, confidence: float | None) -> int:
    """Return how many of `rows` clean scores may be at or above gamma, gamma itself included."""
    exact = _exact(frr)
    if confidence is None:
        return math.floor((rows + 1) * exact)
    from scipy.stats import binom

    # P(Beta(m, n + 1 - m) <= frr) is P(Binomial(n, frr) >= m): a quantile of the binomial gives the largest m.
    return max(1, int(binom.ppf(1 - confidence, rows, float(exact))))


def _frr_interval(may_exceed: int, k: int) -> tuple[float, float]:
    from scipy.stats import beta

    low, high = beta.ppf([0.025, 0.975], may_exceed, k)
    return float(low), float(high)
