"""A `transformers` pipeline task that puts the guard in front of a classifier.

::

    poisonsieve.register_pipeline()
    classify = transformers.pipeline("guarded-text-classification", model=victim, tokenizer=tokenizer, guard="guard/")
    classify("a fine film")  # [{"label": "1", "score": 0.98, "verdict": "passed", "confidence": 0.6, "gamma": 0.9, ...}]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poisonsieve.errors import ConfigError
from poisonsieve.guard import GuardedClassifier

TASK = "guarded-text-classification"
#: The `label` of a text that was rejected. No class is given: what the victim would say is what the attacker wants.
REJECTED = "REJECTED"


def register_pipeline() -> None:
    """Make ``guarded-text-classification`` known to `transformers.pipeline`. Calling it again changes nothing."""
    from transformers import AutoModelForSequenceClassification
    from transformers.pipelines import PIPELINE_REGISTRY

    if TASK not in PIPELINE_REGISTRY.get_supported_tasks():
        PIPELINE_REGISTRY.register_pipeline(
            TASK, pipeline_class=_pipeline_class(), pt_model=AutoModelForSequenceClassification
        )


def _pipeline_class() -> type:
    from transformers import TextClassificationPipeline

    from poisonsieve.defenses.base import Detector
    from poisonsieve.models.classifier import Classifier
    from poisonsieve.models.labels import is_generic, same_classes

    class GuardedTextClassificationPipeline(TextClassificationPipeline):  # type: ignore[misc]
        """The usual text classification, behind a guard.

        Args:
            guard: a guard folder, or a fitted detector.
            base: where the base model of the guard's adapter is now.
        """

        def __init__(self, *args: Any, guard: Any = None, base: str | Path | None = None, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if guard is None:
                raise ConfigError(f"the task {TASK} needs guard=FOLDER (from `poisonsieve fit`) or guard=DETECTOR")
            detector = guard if isinstance(guard, Detector) else Detector.from_pretrained(guard, base=base)
            names = [self.model.config.id2label[index] for index in range(self.model.config.num_labels)]
            if same_classes(names, detector.label_names) and is_generic(names):
                names = detector.label_names  # a base opened under an adapter has lost them
            self.guarded = GuardedClassifier(detector, Classifier(self.model, self.tokenizer, names).eval())

        def __call__(self, inputs: str | Sequence[str], **options: Any) -> list[dict[str, Any]]:
            """One dict a text: the usual `label` and `score`, and the verdict.

            A rejected text has the label ``REJECTED`` and the score 0.

            Raises:
                ConfigError: an option of the plain task that a guarded one cannot honour.
            """
            unknown = sorted(set(options) - {"batch_size"})
            if unknown:
                raise ConfigError(f"the task {TASK} does not know {', '.join(unknown)}")
            texts = [inputs] if isinstance(inputs, str) else inputs
            return [_answer(verdict.to_dict()) for verdict in self.guarded.screen(texts)]

    return GuardedTextClassificationPipeline


def _answer(verdict: dict[str, Any]) -> dict[str, Any]:
    kept = ("verdict", "reason", "confidence", "gamma", "truncated")
    return {
        "label": REJECTED if verdict["rejected"] else verdict["label_name"],
        "score": 0.0 if verdict["rejected"] else verdict["score"],
        **{key: verdict[key] for key in kept},
    }
