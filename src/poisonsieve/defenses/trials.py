"""Try a repair's settings from the strongest to the mildest, and keep the first that costs little clean accuracy.

How strong a repair has to be depends on a trigger that nobody knows, so the strongest that clean dev rows allow is the
one to take. Every setting's training and record are kept in the folder for unfinished work, so that an interrupted
repair resumes, setting by setting.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from poisonsieve.metrics import clean_accuracy
from poisonsieve.parsing import read_json
from poisonsieve.storage import write_json

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier

_ROUNDING = 1e-9  # a drop of exactly the allowed size is allowed

#: Trains with one setting in a folder of its own; returns the classifier, and what is to be recorded beside its accuracy.
Train = Callable[[float, Path], "tuple[Classifier, dict[str, Any]]"]


@dataclass(frozen=True)
class Trials:
    """The search over one setting.

    Attributes:
        setting: its name, which is also its key in the records.
        dev: clean rows that decide.
        reference: clean dev accuracy of the model that is repaired.
        max_ca_drop: how far below the reference a repaired model may be.
        workdir: folder for the trainings and their records.
    """

    setting: str
    dev: datasets.Dataset
    reference: float
    max_ca_drop: float
    workdir: Path

    @classmethod
    def of(cls, model: Classifier, setting: str, dev: datasets.Dataset, max_ca_drop: float, workdir: Path) -> Self:
        """Return the search for `model`, whose accuracy on `dev` is the reference."""
        return cls(setting, dev, accuracy(model, dev), max_ca_drop, workdir)

    def first_that_holds(self, values: Sequence[float], train: Train) -> tuple[Classifier, dict[str, Any]]:
        """Return the classifier trained with the first value that reaches the bar, else with the best; and the facts.

        The bar is the reference less the largest allowed drop.

        The facts are what `train` recorded, `dev_ca`, `reference_dev_ca`, `max_ca_drop`, `held` (whether the bar was
        reached), and `tried`: the value and `dev_ca` of each training.
        """
        tried: list[dict[str, Any]] = []
        for value in values:
            record = self._record(value)
            if record is None or self._holds(record):
                repaired, record = self._run(value, train)
                if self._holds(record):
                    return repaired, self._facts(record, [*tried, record])
            tried.append(record)
            best = max(tried, key=lambda trial: trial["dev_ca"])
            self._keep_only(best[self.setting])
        repaired, record = self._run(best[self.setting], train)  # resumes from its last checkpoint, which is complete
        return repaired, self._facts(record, tried)

    def _run(self, value: float, train: Train) -> tuple[Classifier, dict[str, Any]]:
        """Train with `value`, or finish what an earlier run began; return the classifier and its record."""
        repaired, facts = train(value, self._folder(value))
        record = self._record(value)
        if record is None:
            record = {self.setting: value, "dev_ca": accuracy(repaired, self.dev), **facts}
            write_json(self._record_file(value), record)
        return repaired, record

    def _facts(self, record: dict[str, Any], tried: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {
            **record,
            "reference_dev_ca": self.reference,
            "max_ca_drop": self.max_ca_drop,
            "held": self._holds(record),
            "tried": [{key: trial[key] for key in (self.setting, "dev_ca")} for trial in tried],
        }

    def _holds(self, record: dict[str, Any]) -> bool:
        return keeps_to(record["dev_ca"], self.reference, self.max_ca_drop)

    def _folder(self, value: float) -> Path:
        return self.workdir / f"{self.setting}-{value!r}"

    def _record_file(self, value: float) -> Path:
        return self.workdir / f"{self.setting}-{value!r}.json"

    def _record(self, value: float) -> dict[str, Any] | None:
        file = self._record_file(value)
        return read_json(file) if file.is_file() else None

    def _keep_only(self, value: float) -> None:
        """Delete the other values' checkpoints, each of which holds the whole model and the optimizer's state."""
        for folder in self.workdir.glob(f"{self.setting}-*"):
            if folder.is_dir() and folder != self._folder(value):
                shutil.rmtree(folder)


def accuracy(classifier: Classifier, rows: datasets.Dataset) -> float:
    """Return the accuracy on rows with `text` and `label`."""
    return float(clean_accuracy(classifier.score(rows["text"]).predictions, rows["label"]))


def keeps_to(dev_ca: float, reference: float, max_ca_drop: float) -> bool:
    """Tell whether an accuracy is at most `max_ca_drop` below the reference."""
    return dev_ca >= reference - max_ca_drop - _ROUNDING
