"""A threshold, how it was found, and the comparison with it."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from poisonsieve.errors import ConfigError


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
    rule: Literal["fixed", "frr"]
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
        rows = f"From {self.n_calibration:,} held-out clean rows"
        if self.frr_confidence is not None:
            sure = f"with {100 * self.frr_confidence:.4g}% confidence"
            return f"{rows}, for at most {100 * self.frr:.4g}% of clean rows rejected {sure}."
        return (
            f"{rows}, for at most {100 * self.frr:.4g}% of clean rows rejected on average over many such guards; "
            f"this one lies between {_percent(low)} and {_percent(high)} with 95% confidence."
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
    if not (is_number(gamma) and math.isfinite(gamma) and lowest <= gamma < highest):
        if (lowest, highest) == (0.0, 1.0):
            raise ConfigError(f"gamma is {gamma}; a fixed gamma must be at least 0 and below 1 (the paper's is 0.7)")
        raise ConfigError(
            f"gamma is {gamma}; these scores lie between {lowest:g} and {highest:g}, and a fixed gamma must be a "
            f"finite number of that range below {highest:g}"
        )
    return Threshold(float(gamma), "fixed")


def is_number(value: object) -> bool:
    """Tell whether a value is a real number, and not a bool, which Python takes for one."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _percent(rate: float) -> str:
    """Format a rate with two significant digits, and more near 100%: 0.48%, 1.7%, 97%, 99.98%."""
    value = 100 * rate
    return f"{value:.2g}%" if value < 99 else f"{value:.4g}%"
