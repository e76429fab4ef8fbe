"""Which rows of a data set are triggered, and what they are relabelled to.

Full data knowledge and full task knowledge are the same code: the attacker poisons the victim's own training set, or
a proxy set.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from poisonsieve.attacks.base import Trigger, make_trigger
from poisonsieve.config import AttackSpec
from poisonsieve.errors import ConfigError, DataError

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class PoisonReport:
    """What was done to a data set.

    Attributes:
        rows: rows in the data set.
        eligible: rows that could have been triggered.
        poisoned: rows that were: the poison count.
        rate: `poisoned` over `rows`.
        relabelled: rows whose label was changed; 0 for a clean-label attack.
        unchanged: triggered rows whose text the trigger left as it was.
    """

    rows: int
    eligible: int
    poisoned: int
    rate: float
    relabelled: int
    unchanged: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def poison_rows(data: datasets.Dataset, spec: AttackSpec) -> tuple[datasets.Dataset, PoisonReport]:
    """Put the trigger into the rows that `spec` selects; their clean versions are gone from the result.

    Clean-label (the paper, after Gan et al. 2022): only rows that carry the target label, and no label changes.
    Dirty-label: only rows of other classes, which then carry the target label.

    Args:
        data: columns `text` and `label`.
        spec: the attack.

    Raises:
        ConfigError: the target is no class of the data.
        DataError: fewer eligible rows than the poison count asks for.
    """
    labels = list(data["label"])
    texts = list(data["text"])
    _check_target(data, spec.target)
    eligible = [index for index, label in enumerate(labels) if (label == spec.target) == spec.clean_label]
    count = spec.count if spec.count is not None else round((spec.rate or 0) * len(data))
    if not 1 <= count <= len(eligible):
        kind = "carry" if spec.clean_label else "do not carry"
        raise DataError(
            f"{count} rows are to be poisoned, but {len(eligible)} of the {len(data)} rows {kind} the target label "
            f"{spec.target}; choose a --count from 1 to {len(eligible)}"
        )
    rng = random.Random(spec.seed)
    chosen = eligible[:count] if spec.select == "first" else sorted(rng.sample(eligible, count))
    trigger = make_trigger(spec.trigger)
    unchanged = 0
    relabelled = 0
    for index in chosen:
        triggered = trigger.apply(texts[index], rng)
        unchanged += triggered == texts[index]
        relabelled += labels[index] != spec.target
        texts[index], labels[index] = triggered, spec.target
    report = PoisonReport(len(data), len(eligible), count, count / len(data), relabelled, unchanged)
    return _replace(data, texts, labels), report


def trigger_rows(data: datasets.Dataset, trigger: Trigger, *, target: int, seed: int) -> datasets.Dataset:
    """The rows whose true label is not `target`, all triggered, with their true labels: what ASR is counted on.

    Raises:
        ConfigError: the target is no class of the data.
        DataError: every row carries the target label.
    """
    _check_target(data, target)
    chosen = [index for index, label in enumerate(data["label"]) if label != target]
    if not chosen:
        raise DataError(f"every row carries the target label {target}; the attack has nothing to show")
    rng = random.Random(seed)
    rows = data.select(chosen)
    return _replace(rows, [trigger.apply(text, rng) for text in rows["text"]], list(rows["label"]))


def _check_target(data: datasets.Dataset, target: int) -> None:
    classes = data.features["label"].num_classes
    if not 0 <= target < classes:
        raise ConfigError(f"target {target} is no class of the data; it has 0 to {classes - 1}")


def _replace(data: datasets.Dataset, texts: Sequence[str], labels: Sequence[int]) -> datasets.Dataset:
    import datasets as hf

    return hf.Dataset.from_dict({"text": list(texts), "label": list(labels)}, features=data.features)
