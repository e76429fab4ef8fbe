"""What `fit` has made, for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from poisonsieve.cli import outputs, printing

if TYPE_CHECKING:
    from poisonsieve.auditing.asking import Asked
    from poisonsieve.stages.keep import StageResult
    from poisonsieve.thresholds import Threshold


@dataclass(frozen=True)
class Fitted:
    """A fitted guard, with what was made beside it.

    Attributes:
        detector: name of its detector.
        stage: the guard's folder and measurements.
        classes: number of classes of the guarded model; 0 if it has no head and the rows no labels.
        rate_chosen: whether the user named a threshold; otherwise the rows decided which rate is promised.
        repaired: the repaired model, if one was asked for.
        audited: whether an audit was given.
        asked: whether the guard stops what the audit found; None if it found nothing.
    """

    detector: str
    stage: StageResult
    classes: int
    rate_chosen: bool
    repaired: StageResult | None
    audited: bool
    asked: Asked | None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        from poisonsieve.defenses.shown import shown_for

        beside = {"repaired": self.repaired, "asked": self.asked}
        shown = {"shown": [asdict(found) for found in shown_for(self.detector)]}
        return self.stage.to_dict() | shown | {key: made.to_dict() for key, made in beside.items() if made}

    def facts(self) -> dict[str, str]:
        """Return the lines of the table for people."""
        from poisonsieve.defenses.shown import in_one_line
        from poisonsieve.thresholds import Threshold

        threshold = Threshold.from_dict({key: self.stage.result[key] for key in Threshold.__dataclass_fields__})
        facts = {
            "defence": self.detector,
            "gamma": f"{threshold.gamma:.6g}",
            "how it was found": threshold.describe(),
            "stopped in our tests": in_one_line(self.detector, self.classes),
            **({} if self.rate_chosen else _for_less(threshold)),
        }
        if self.audited:
            facts["what the audit found"] = self.asked.says() if self.asked else "nothing to ask the guard of"
        facts |= {"seconds": f"{self.stage.seconds:.0f}", "written to": outputs.written(self.stage)}
        if self.repaired:
            facts["repaired victim"] = outputs.written(self.repaired)
        return facts


def _for_less(threshold: Threshold) -> dict[str, str]:
    """Return how many rows the usual rate takes, if the default had to be a higher one."""
    from poisonsieve.thresholds import CONFIDENCE, DEFAULT_FRR, rows_needed

    if threshold.frr is None or threshold.frr <= DEFAULT_FRR:
        return {}
    return {f"to promise {100 * DEFAULT_FRR:g}%": f"takes {rows_needed(DEFAULT_FRR, CONFIDENCE)} held-out clean rows"}


def warn_of_classes(classes: int) -> None:
    """Say on stderr that guards of models with more than two classes were not shown to work."""
    if classes > 2:
        printing.note(
            f"warning: the model has {classes} classes, and guards have been shown to work for two: poison a model of "
            "your own and evaluate the guard on it before you rely on this one (docs/guide/defences.md)"
        )
