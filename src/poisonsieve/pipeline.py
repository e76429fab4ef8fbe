"""A `transformers` pipeline task that puts the guard in front of a classifier.

::

    poisonsieve.register_pipeline()
    classify = transformers.pipeline("guarded-text-classification", model=victim, tokenizer=tokenizer, guard="guard/")
    classify("a fine film")  # [{"label": "1", "score": 0.98, "outcome": "passed", "confidence": 0.6, "gamma": 0.9, ...}]
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poisonsieve.errors import ConfigError
from poisonsieve.guard import Guard, GuardedClassifier

TASK = "guarded-text-classification"
#: The `label` of a rejected text. No class is given, since the victim's answer is what the attacker wants.
REJECTED = "REJECTED"


def register_pipeline() -> None:
    """Register ``guarded-text-classification`` with `transformers.pipeline`. Calling it again changes nothing."""
    from transformers import AutoModelForSequenceClassification
    from transformers.pipelines import PIPELINE_REGISTRY

    if TASK not in PIPELINE_REGISTRY.get_supported_tasks():
        PIPELINE_REGISTRY.register_pipeline(
            TASK, pipeline_class=_pipeline_class(), pt_model=AutoModelForSequenceClassification
        )


def _pipeline_class() -> type:
    from transformers import Pipeline, TextClassificationPipeline

    from poisonsieve.models.classifier import Classifier
    from poisonsieve.models.labels import is_generic, names_by_number, refuse_other_outputs, same_classes
    from poisonsieve.models.load import check_room, warn_of_company

    class GuardedTextClassificationPipeline(TextClassificationPipeline):  # type: ignore[misc]
        """Text classification behind a guard.

        Args:
            guard: a guard folder, or a fitted guard.
            base: current location of the base model of the guard's adapter.
        """

        def __init__(self, *args: Any, guard: Any = None, base: str | Path | None = None, **kwargs: Any) -> None:
            known = {*inspect.signature(Pipeline.__init__).parameters, "batch_size", "num_workers", "dtype"}
            _refuse(set(kwargs) - known)
            super().__init__(*args, **kwargs)
            if guard is None:
                raise ConfigError(f"the task {TASK} needs guard=FOLDER (from `poisonsieve fit`) or guard=GUARD")
            opened = guard if isinstance(guard, Guard) else Guard.from_pretrained(guard, base=base)
            refuse_other_outputs(self.model.config.to_dict(), "the model")
            names = names_by_number(self.model.config.id2label, "the model's config")
            if same_classes(names, opened.label_names) and is_generic(names):
                names = opened.label_names  # a base opened under an adapter has lost them
            victim = Classifier(self.model, self.tokenizer, names).eval()
            check_room(victim)
            warn_of_company(victim)
            self.guarded = GuardedClassifier(opened, victim)

        def __call__(self, inputs: str | Sequence[str], **options: Any) -> list[dict[str, Any]]:
            """Return one dict per text: the usual `label` and `score`, and the verdict.

            A rejected text has the label ``REJECTED`` and the score 0.

            Raises:
                ConfigError: an option of the plain task is not supported by the guarded one.
            """
            _refuse(set(options) - {"batch_size"})
            texts = [inputs] if isinstance(inputs, str) else inputs
            return [_answer(verdict.to_dict()) for verdict in self.guarded.screen(texts)]

    return GuardedTextClassificationPipeline


def _refuse(options: set[str]) -> None:
    """Refuse options of the plain task, since silently ignoring them would mislead."""
    if options:
        raise ConfigError(f"the task {TASK} does not know {', '.join(sorted(options))}")


def _answer(verdict: dict[str, Any]) -> dict[str, Any]:
    kept = ("verdict", "outcome", "cause", "reason", "confidence", "gamma", "truncated")
    return {
        "label": REJECTED if verdict["rejected"] else verdict["label_name"],
        "score": 0.0 if verdict["rejected"] else verdict["score"],
        **{key: verdict[key] for key in kept},
    }
