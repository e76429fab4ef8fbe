"""Clean models of the user's own rows, of which everything is asked that is found on the audited model.

A control is a stage in the cache, named by its content, with the scan of its vocabulary beside it. So a second audit with
the same rows trains and scans nothing of it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from poisonsieve.assets import cache_dir
from poisonsieve.auditing.budget import Budget
from poisonsieve.auditing.heldout import HeldOut
from poisonsieve.auditing.probes import SENTENCES, SHAPES
from poisonsieve.auditing.result import Finding
from poisonsieve.auditing.scan import VERSION, scan
from poisonsieve.data import split_off
from poisonsieve.models.load import load_classifier
from poisonsieve.stages.keep import StageResult
from poisonsieve.stages.train import tune_stage
from poisonsieve.storage import beside, canonical_hash, read_json_if_there, reporting_write_errors, write_json
from poisonsieve.tuning.presets import spec_maker

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier

_EPOCHS = 5
_BATCH = 16
_HELD_OUT = 0.1  # each control leaves out other rows, so that controls differ in data too
_TOKENS = 96


def train_control(
    base: str, rows: datasets.Dataset, number: int, seed: int, *, allow_pickle: bool
) -> tuple[Classifier, StageResult]:
    """Return control `number`, tuned in full from the base on clean rows, and its stage."""
    own_seed = seed + number
    train, dev = split_off(rows, _HELD_OUT, own_seed)
    make = spec_maker("full", epochs=_EPOCHS, batch_size=_BATCH, max_length=_TOKENS, seed=own_seed)
    stage = tune_stage(base, train, dev, make, _place, allow_pickle=allow_pickle, seed=own_seed)
    return load_classifier(stage.out), stage


def rows_of_a_training(rows: int) -> int:
    """Return how many rows a control is trained on, counted once an epoch."""
    return round(rows * (1 - _HELD_OUT)) * _EPOCHS


def _place(digest: str) -> Path:
    return cache_dir() / "audit" / f"control-{digest[:16]}"


@dataclass(frozen=True)
class Kept:
    """What is kept of audits in the cache, by the content that decides it."""

    words: Sequence[str]
    held_out: HeldOut
    budget: Budget
    seed: int

    def scan(self, classifier: Classifier, control: StageResult) -> npt.NDArray[np.float64]:
        """Return the scan of a control, from the cache where it is there."""
        kept = self._file(control, "scan", [*self._decides(), self.budget.words_a_row]).with_suffix(".npy")
        if kept.is_file():
            known: npt.NDArray[np.float64] = np.load(kept, allow_pickle=False)
            if known.shape == (len(self.words), len(self.held_out.names)):
                return known
        pulls = scan(classifier, self.words, self.held_out, self.budget, self.seed)
        with reporting_write_errors(kept):
            unfinished = beside(kept, "writing.npy")
            np.save(unfinished, pulls)
            unfinished.replace(kept)
        return pulls

    def null(
        self, number: int, controls: Sequence[StageResult], search: Callable[[], Sequence[Finding]]
    ) -> list[float]:
        """Return the excess of every finding of one control, from the cache where they are there, else by `search`."""
        known = self.known_null(number, controls)
        if known is None:
            known = [finding.excess for finding in search()]
            write_json(self._null_file(number, controls), {"null": known})
        return known

    def known_null(self, number: int, controls: Sequence[StageResult]) -> list[float] | None:
        """Return what `null` finds in the cache, or None."""
        known = read_json_if_there(self._null_file(number, controls)).get("null")
        return [float(value) for value in known] if isinstance(known, list) and known else None

    def _null_file(self, number: int, controls: Sequence[StageResult]) -> Path:
        sizes = {name: size for name, size in asdict(self.budget).items() if name != "taught"}  # none has a student
        decides = [*self._decides(), sizes, [control.digest for control in controls]]
        return self._file(controls[number], "null", [*decides, list(SHAPES), SENTENCES]).with_suffix(".json")

    def _decides(self) -> list[object]:
        texts = self.held_out.texts, self.held_out.labels.tolist(), self.held_out.names
        return [list(self.words), *texts, self.seed, VERSION]

    @staticmethod
    def _file(control: StageResult, what: str, decides: object) -> Path:
        return control.out.with_name(f"{control.out.name}-{what}-{canonical_hash(decides)[:16]}")
