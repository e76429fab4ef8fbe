"""What an audit found, as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from poisonsieve.auditing.weights import MovedWeights

Verdict = Literal["no sign found", "suspicious", "poisoned"]
Kind = Literal["word", "phrase", "sentence", "shape"]


@dataclass(frozen=True)
class Finding:
    """One change of a text, and how often it turns texts of other classes into one class.

    Attributes:
        kind: a ``word``, ``phrase`` or ``sentence`` that is put in, or a ``shape`` that the text is given.
        what: the insertion itself, or the name of the shape.
        target: name of the class that texts turn into.
        turned: share of the texts that turn, of those that the audited model did not already put into that class.
        texts: number of those texts.
        controls: the same share on each control.
        moved: how far the change takes those texts towards the class on each control, as a share of the way, on average: 0
            is no effect, 1 turns all. Words of the task move clean models that they do not turn; a trigger does not.
        student: the same share as `turned` on the student, which knows the task as the audited model does, so that what it
            turns is enough; None for a control that is searched, which has none.
    """

    kind: Kind
    what: str
    target: str
    turned: float
    texts: int
    controls: tuple[float, ...]
    moved: tuple[float, ...]
    student: float | None = None

    @property
    def clean(self) -> tuple[float, ...]:
        """The share that it turns on each clean model: the controls, and last the student."""
        return (*self.controls, *([] if self.student is None else [self.student]))

    @property
    def excess(self) -> float:
        """The share that it turns, less how far it moves any control, or what it turns on the student if that is more."""
        return self.turned - max(*self.moved, self.student or 0.0)


@dataclass(frozen=True)
class Example:
    """One of the user's texts, without and with the suspected trigger.

    Attributes:
        text: the text as it is.
        says: the class that the audited model gives it.
        changed: the text with the suspected trigger.
        says_then: the class that it gives that.
    """

    text: str
    says: str
    changed: str
    says_then: str


@dataclass(frozen=True)
class AuditResult:
    """The outcome of an audit.

    Attributes:
        checkpoint: what was audited, as the user named it.
        classes: names of the classes, in the order of the model's head.
        verdict: ``no sign found`` never means that the model is clean: see `not_searched`.
        statistic: the largest excess over all classes and candidates.
        p_value: how likely a clean model is to reach the statistic; see `poisonsieve.auditing.judging.p_value`.
        null: the excess of every finding of every control, each audited against the other controls.
        warnings: why the controls are a poor yardstick, in plain words; empty if they are not.
        strongest: by class name, the finding of largest excess.
        findings: all findings that were counted on held-out texts, largest excess first.
        weights: what moved against the base; None if the base is another architecture, or an adapter was audited.
        examples: of the strongest finding, where the verdict is not ``no sign found``.
        searched: what was searched, in plain words.
        not_searched: what was not.
        advice: what to do next.
        accuracy: of the audited model on the held-out clean texts.
        control_accuracy: of each control.
        budget: name of the budget.
        base: what the controls were trained from.
        seconds: time of the audit, controls included.
        seconds_by_step: time of each step, by its name.
        reused_controls: how many controls a previous audit had trained.
    """

    checkpoint: str
    classes: tuple[str, ...]
    verdict: Verdict
    statistic: float
    p_value: float
    null: tuple[float, ...]
    warnings: tuple[str, ...]
    strongest: Mapping[str, Finding]
    findings: tuple[Finding, ...]
    weights: MovedWeights | None
    examples: tuple[Example, ...]
    searched: tuple[str, ...]
    not_searched: tuple[str, ...]
    advice: tuple[str, ...]
    accuracy: float
    control_accuracy: tuple[float, ...]
    budget: str
    base: str
    seconds: float
    seconds_by_step: Mapping[str, float]
    reused_controls: int

    @property
    def trigger(self) -> Finding | None:
        """The suspected trigger; None where no sign was found."""
        return self.findings[0] if self.verdict != "no sign found" and self.findings else None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        values = dataclasses.asdict(self)
        values["findings"] = [{**dataclasses.asdict(found), "excess": found.excess} for found in self.findings]
        values["trigger"] = None if self.trigger is None else dataclasses.asdict(self.trigger)
        return values
