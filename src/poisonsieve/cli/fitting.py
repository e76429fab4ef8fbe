"""What `fit` is asked for: its default, and the options that contradict each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets

    from poisonsieve.auditing.asking import Asked, Suspected
    from poisonsieve.defenses.specs import DefenseSpec


def default_detector(preset: str, gamma: float | None) -> str:
    """Return the detector of a user who names none: the paper's, if its preset or a gamma on its scale is given."""
    from poisonsieve.defenses.specs import DEFAULT_DETECTOR, PAPER_DETECTOR

    return DEFAULT_DETECTOR if preset == "default" and gamma is None else PAPER_DETECTOR


def check_options(spec: DefenseSpec, settings: dict[str, Any], rule: dict[str, float]) -> None:
    """Refuse options that are given twice or contradict each other, and short forms that the detector does not have."""
    from poisonsieve.defenses.specs import known_arguments
    from poisonsieve.errors import ConfigError
    from poisonsieve.thresholds import RULES, rule_of

    known = known_arguments(spec)
    for key in settings:
        if key not in known:
            raise ConfigError(f"{spec.name} has no {key} ({_option(key)}); it has: {', '.join(known)}")
    for key in spec.params:
        if key in {**settings, **rule}:
            raise ConfigError(f"{key} is given twice: in --defense or --set and by {_option(key)}; give it once")
    inside: dict[str, Any] = {key: value for key, value in spec.params.items() if key in RULES}
    rule_of(**rule, **inside)  # refuses two


def _option(argument: str) -> str:
    return "--lr" if argument == "learning_rate" else f"--{argument.replace('_', '-')}"


def ask_guard(
    guard: Path, model: str, found: Suspected, rows: datasets.Dataset, *, base: str | None, allow_pickle: bool
) -> Asked:
    """Ask a guard that was just fitted whether it stops the trigger that an audit found, and keep its answer beside it."""
    from poisonsieve.auditing.asking import ask
    from poisonsieve.guard import GuardedClassifier
    from poisonsieve.guard.folder import write_asked

    guarded = GuardedClassifier.from_pretrained(guard, model, base=base, allow_pickle=allow_pickle)
    asked = ask(guarded, found, list(rows["text"]))
    write_asked(guard, asked.to_dict())
    return asked
