"""Keep triggered inputs away from a weight-poisoned text classifier, without knowing the trigger.

Public names are imported on first use, so that `import poisonsieve` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poisonsieve.attacks import make_trigger, poison_rows, trigger_rows
    from poisonsieve.auditing import AuditResult, audit
    from poisonsieve.data import load_dataset
    from poisonsieve.defenses import PSIM, Detector, PSIMRarity
    from poisonsieve.errors import PoisonsieveError
    from poisonsieve.guard import Guard, GuardedClassifier, Verdict
    from poisonsieve.metrics import evaluate_guard
    from poisonsieve.models import load_classifier
    from poisonsieve.pipeline import register_pipeline
    from poisonsieve.registry import register
    from poisonsieve.thresholds import fixed_gamma, gamma_for_frr
    from poisonsieve.tuning import finetune, tune_spec

_HOMES = {
    "AuditResult": "auditing",
    "Detector": "defenses",
    "Guard": "guard",
    "GuardedClassifier": "guard",
    "PSIM": "defenses",
    "PSIMRarity": "defenses",
    "PoisonsieveError": "errors",
    "Verdict": "guard",
    "audit": "auditing",
    "evaluate_guard": "metrics",
    "finetune": "tuning",
    "fixed_gamma": "thresholds",
    "gamma_for_frr": "thresholds",
    "load_classifier": "models",
    "load_dataset": "data",
    "make_trigger": "attacks",
    "poison_rows": "attacks",
    "register": "registry",
    "register_pipeline": "pipeline",
    "trigger_rows": "attacks",
    "tune_spec": "tuning",
}

__all__ = [
    "PSIM",
    "AuditResult",
    "Detector",
    "Guard",
    "GuardedClassifier",
    "PSIMRarity",
    "PoisonsieveError",
    "Verdict",
    "audit",
    "evaluate_guard",
    "finetune",
    "fixed_gamma",
    "gamma_for_frr",
    "load_classifier",
    "load_dataset",
    "make_trigger",
    "poison_rows",
    "register",
    "register_pipeline",
    "trigger_rows",
    "tune_spec",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'poisonsieve' has no attribute {name!r}")
    return getattr(importlib.import_module(f"poisonsieve.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
