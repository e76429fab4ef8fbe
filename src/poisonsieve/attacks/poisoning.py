"""Poisoning a data set: choosing rows, triggering them and relabelling them.

Full data knowledge (FDK) and full task knowledge (FTK) run the same code: the attacker poisons either the victim's own
training set or a proxy set.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from poisonsieve.attacks.base import Trigger, apply_each, make_trigger
from poisonsieve.config import AttackSpec
from poisonsieve.errors import CannotApplyError, ConfigError, DataError
from poisonsieve.texts import TRIGGERED

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class PoisonReport:
    """A summary of how a data set was poisoned.

    Attributes:
        rows: rows in the data set.
        eligible: rows that could have been triggered.
        poisoned: rows that were triggered (the poison count).
        rate: `poisoned` divided by `rows`.
        relabelled: rows whose label was changed; 0 for a clean-label attack.
        not_applicable: rows on which the trigger was tried in vain; others replaced them.
    """

    rows: int
    eligible: int
    poisoned: int
    rate: float
    relabelled: int
    not_applicable: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)


def poison_rows(data: datasets.Dataset, spec: AttackSpec) -> tuple[datasets.Dataset, PoisonReport]:
    """Put the trigger into the rows that `spec` selects, replacing their clean versions.

    A clean-label attack (the paper, after Gan et al. 2022) triggers only rows with the target label and changes no
    label. A dirty-label attack triggers only rows of other classes and gives them the target label.

    Args:
        data: columns `text` and `label`; rows already marked by a column `triggered` stay marked.
        spec: the attack.

    Returns:
        The rows in their original order, with an additional column `triggered` (bool), and a summary.

    Raises:
        ConfigError: the target is not a class of the data.
        DataError: there are fewer eligible rows than the poison count.
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
    triggered, tried = _trigger_enough(spec, eligible, texts, count)
    if len(triggered) < count:
        raise DataError(
            f"{count} rows are to be poisoned, but {spec.trigger.name} can be put into only {len(triggered)} of the "
            f"{len(eligible)} eligible rows; choose a --count up to that"
        )
    relabelled = sum(labels[index] != spec.target for index in triggered)
    for index, text in triggered.items():
        texts[index], labels[index] = text, spec.target
    report = PoisonReport(len(data), len(eligible), count, count / len(data), relabelled, tried - count)
    known = data[TRIGGERED] if TRIGGERED in data.column_names else [False] * len(data)
    flags = [index in triggered or bool(flag) for index, flag in enumerate(known)]
    return _replace(data, texts, labels).add_column(TRIGGERED, flags), report


def _trigger_enough(
    spec: AttackSpec, eligible: Sequence[int], texts: Sequence[str], count: int
) -> tuple[dict[int, str], int]:
    """Return up to `count` triggered rows by index, and the number of rows tried."""
    rng = random.Random(spec.seed)
    trigger = make_trigger(spec.trigger)
    found: dict[int, str] = {}
    left = list(eligible)
    while len(found) < count and left:
        wanted = min(count - len(found), len(left))
        batch = left[:wanted] if spec.select == "first" else sorted(rng.sample(left, wanted))
        triggered = apply_each(trigger, [texts[index] for index in batch], rng)
        found.update({index: text for index, text in zip(batch, triggered, strict=True) if text is not None})
        tried = set(batch)
        left = [index for index in left if index not in tried]
    return found, len(eligible) - len(left)


@dataclass(frozen=True)
class TriggeredRows:
    """The rows on which ASR is measured.

    Attributes:
        rows: triggered rows whose true label is not the target, with their true labels.
        not_applicable: rows of other classes into which the trigger could not be put. They are not in `rows`, since
            they attack nothing; every report states their number next to the ASR.
    """

    rows: datasets.Dataset
    not_applicable: int


def trigger_rows(data: datasets.Dataset, trigger: Trigger, *, target: int, seed: int) -> TriggeredRows:
    """Trigger all rows whose true label is not `target`.

    Raises:
        ConfigError: the target is not a class of the data.
        DataError: every row carries the target label.
        CannotApplyError: the trigger fits none of the other rows.
    """
    _check_target(data, target)
    chosen = [index for index, label in enumerate(data["label"]) if label != target]
    if not chosen:
        raise DataError(f"every row carries the target label {target}; the attack has nothing to show")
    rows = data.select(chosen)
    triggered = apply_each(trigger, list(rows["text"]), random.Random(seed))
    kept = [index for index, text in enumerate(triggered) if text is not None]
    if not kept:
        raise CannotApplyError(
            f"the trigger can be put into none of the {len(chosen)} rows whose label is not the target"
        )
    texts = [text for text in triggered if text is not None]
    labels = [rows["label"][index] for index in kept]
    return TriggeredRows(_replace(rows, texts, labels), len(chosen) - len(kept))


def _check_target(data: datasets.Dataset, target: int) -> None:
    classes = data.features["label"].num_classes
    if not 0 <= target < classes:
        raise ConfigError(f"target {target} is not a class of the data; choose 0 to {classes - 1}")


def _replace(data: datasets.Dataset, texts: Sequence[str], labels: Sequence[int]) -> datasets.Dataset:
    import datasets as hf

    features = hf.Features({name: data.features[name] for name in ("text", "label")})
    return hf.Dataset.from_dict({"text": list(texts), "label": list(labels)}, features=features)
