"""Gamma: the threshold above which a confidence marks a row as poisoned.

A defender has no triggered rows, so gamma is either a fixed number, as in the paper, or a quantile of clean held-out
scores that keeps false rejections to a rate chosen by the user. A rate is kept to in one of two ways:

- as a promise (`frr`): with 95% confidence, this one guard rejects no more than that share of clean text;
- on average (`frr_mean`): the mean over all calibration sets that might have been drawn. Nearly half of them do worse.
"""

from poisonsieve.thresholds.quantiles import gamma_for_frr, gamma_with_traffic
from poisonsieve.thresholds.rates import (
    CONFIDENCE,
    DEFAULT_FRR,
    HIGHEST_DEFAULT_FRR,
    default_frr,
    frr_to_be_sure,
    lowest_frr,
    other_rates,
    rows_needed,
    too_few,
)
from poisonsieve.thresholds.rules import AUTO, RULES, rule_of
from poisonsieve.thresholds.threshold import Threshold, fixed_gamma, is_flagged

__all__ = [
    "AUTO",
    "CONFIDENCE",
    "DEFAULT_FRR",
    "HIGHEST_DEFAULT_FRR",
    "RULES",
    "Threshold",
    "default_frr",
    "fixed_gamma",
    "frr_to_be_sure",
    "gamma_for_frr",
    "gamma_with_traffic",
    "is_flagged",
    "lowest_frr",
    "other_rates",
    "rows_needed",
    "rule_of",
    "too_few",
]
