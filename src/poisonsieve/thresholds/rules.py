"""The ways to ask for a threshold, of which one is given."""

from __future__ import annotations

from typing import Any, Literal

from poisonsieve.errors import ConfigError

#: See `poisonsieve.guard.calibration.Calibration.choose`.
RULES = ("frr", "frr_mean", "gamma")
#: In place of a rate: see `poisonsieve.thresholds.rates.default_frr`.
AUTO: Literal["auto"] = "auto"


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
