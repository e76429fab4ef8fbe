"""False-rejection rates: how many calibration rows one takes, and which one so many rows can keep to."""

from __future__ import annotations

import math
from fractions import Fraction

from poisonsieve.errors import CalibrationError, ConfigError
from poisonsieve.thresholds.threshold import is_number

#: The share of calibration sets that keep a promised rate.
CONFIDENCE = 0.95
#: Where the user names no rate: promise `DEFAULT_FRR`, or the lowest that the rows can promise, up to
#: `HIGHEST_DEFAULT_FRR`.
DEFAULT_FRR, HIGHEST_DEFAULT_FRR = 0.01, 0.05


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
    may_exceed = may_exceed_count(frr, rows, confidence)
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


def _exact(frr: float) -> Fraction:
    """Return the decimal that the user wrote rather than its binary approximation, so that 0.01 of 100 is exactly 1."""
    if not is_number(frr) or not 0 < frr < 1:
        raise ConfigError(f"the false-rejection rate is {frr}; it must be above 0 and below 1 (0.01 is 1%)")
    return Fraction(str(float(frr)))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"the confidence is {confidence}; it must be above 0 and below 1 (0.95 is 95%)")


def may_exceed_count(frr: float, rows: int, confidence: float | None) -> int:
    """Return how many of `rows` clean scores may be at or above gamma, gamma itself included."""
    exact = _exact(frr)
    if confidence is None:
        return math.floor((rows + 1) * exact)
    from scipy.stats import binom

    # P(Beta(m, n + 1 - m) <= frr) is P(Binomial(n, frr) >= m): a quantile of the binomial gives the largest m.
    return max(1, int(binom.ppf(1 - confidence, rows, float(exact))))
