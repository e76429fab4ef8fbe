"""An audit from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poisonsieve.auditing.budget import Budget, get_budget
from poisonsieve.auditing.controls import Kept, rows_of_a_training, train_control
from poisonsieve.auditing.heldout import HeldOut
from poisonsieve.auditing.judging import judge, strongest_by_class, weaknesses
from poisonsieve.auditing.result import AuditResult, Example, Finding
from poisonsieve.auditing.scan import BATCH, rows_of_a_scan, scan
from poisonsieve.auditing.search import Answering, Scanned, Search, changed, rows_of_a_search
from poisonsieve.auditing.student import teach
from poisonsieve.auditing.telling import advice, not_searched, searched
from poisonsieve.auditing.weights import MovedWeights, compare_weights
from poisonsieve.auditing.words import whole_words
from poisonsieve.data import labels_of, load_dataset, split_off
from poisonsieve.errors import DataError
from poisonsieve.models.load import load_classifier
from poisonsieve.progress import Step, StepsLeft
from poisonsieve.stages.keep import StageResult

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier

DEFAULT_BASE = "minilm"
FEWEST_ROWS = 100
FEWEST_OF_A_CLASS = 2  # one to train on, one to hold out
_HELD_OUT = 0.3  # of the rows, for the search: no control is trained on them
_EXAMPLES = 10
_TRAINED_ROW, _SEARCHED_ROW = 5.0, 2.0  # what such a row costs, if one of a scan costs 1


def audit(
    checkpoint: str | Path,
    data: datasets.Dataset | str,
    *,
    base: str | Path | None = None,
    adapter_base: str | Path | None = None,
    budget: str = "quick",
    seed: int = 0,
    allow_pickle: bool = False,
    progress: bool = False,
) -> AuditResult:
    """Look for a backdoor in a classifier, with clean rows of its task.

    Args:
        checkpoint: the model with its trained head: folder (whole or adapter) or hub id.
        data: clean labelled rows that the checkpoint has best not seen; see `load_dataset` for a name.
        base: trusted pretrained weights. Controls are trained from them, and the checkpoint's weights are compared with
            them if they are of one architecture. Default: the packaged encoder `minilm`.
        adapter_base: for an adapter, its base model, if it is not where the adapter says.
        budget: ``quick``, ``normal`` or ``thorough``.
        seed: decides everything that is drawn by chance.
        allow_pickle: see `poisonsieve.models.sources.resolve`.
        progress: draw a bar with the time left.

    Raises:
        CheckpointError: there is no trained head for the data's classes, or the checkpoint cannot be opened.
        DataError: there are fewer than 100 rows, or rows of one class only.
        UnsafeWeightsError, HubError: see `poisonsieve.models.sources.resolve`.
    """
    started = time.perf_counter()
    sizes = get_budget(budget)
    train, held_out = _halves(load_dataset(data) if isinstance(data, str) else data, sizes.rows, seed)
    names = held_out.names
    suspect = load_classifier(
        checkpoint, label_names=names, default_names=names, base=adapter_base, allow_pickle=allow_pickle
    )
    words, words_left_out = whole_words(suspect.tokenizer, sizes.words)
    kept = Kept(words, held_out, sizes, seed)
    with StepsLeft("audit", _todo(sizes, len(train), len(words), len(names)), shown=progress) as left:
        work = _Work(suspect, kept, left)
        weights = work.weights(trusted := str(base or DEFAULT_BASE), allow_pickle)
        controls = work.controls(trusted, train, allow_pickle)
        findings = work.findings(weights, train)
        null = work.null()
    judged = _judged(work, findings, null)
    return AuditResult(
        checkpoint=str(checkpoint),
        classes=tuple(names),
        **judged,
        weights=weights,
        searched=searched(sizes, held_out, len(words), weights),
        not_searched=not_searched(sizes, words_left_out, weights),
        advice=advice(judged["verdict"], str(checkpoint)),
        budget=budget,
        base=trusted,
        seconds=time.perf_counter() - started,
        seconds_by_step=left.seconds,
        reused_controls=sum(stage.reused for stage in controls),
    )


def _halves(rows: datasets.Dataset, most: int, seed: int) -> tuple[datasets.Dataset, HeldOut]:
    """Draw at most so many rows, and split them into those that controls are trained on and those that are searched on."""
    _check_rows(rows)
    names = labels_of(rows)
    if len(rows) > most:
        rows = split_off(rows, most, seed)[1]
    train, search = split_off(rows, _HELD_OUT, seed)
    return train, HeldOut.of(search["text"], search["label"], names)


def _judged(work: _Work, findings: list[Finding], null: list[float]) -> dict[str, Any]:
    """Return the parts of an `AuditResult` that say what the findings amount to."""
    suspect, held_out = work.suspect, work.kept.held_out
    verdict, p, top = judge(findings, null)
    accuracy, *control_accuracy = (_accuracy(model, held_out) for model in (suspect, *work.clean_models()))
    most_frequent = float(np.bincount(held_out.labels).max() / len(held_out.labels))
    return {
        "verdict": verdict,
        "statistic": top.excess,
        "p_value": p,
        "null": tuple(null),
        "warnings": weaknesses(accuracy, control_accuracy, null, most_frequent),
        "strongest": strongest_by_class(findings),
        "findings": (top, *(finding for finding in findings if finding is not top)),
        "examples": _examples(suspect, held_out, top) if verdict != "no sign found" else (),
        "accuracy": accuracy,
        "control_accuracy": tuple(control_accuracy),
    }


def _todo(budget: Budget, rows: int, words: int, classes: int) -> dict[str, Step]:
    """Return the steps of an audit in their order."""
    reads = rows_of_a_scan(words, classes, budget)
    asks = partial(rows_of_a_search, budget, classes)
    steps = {"weights": Step("comparing the weights", "weights", 0)}
    for number in range(budget.controls):
        clean = f"clean model {number + 1} of {budget.controls}"
        steps |= {
            f"control {number}": Step(f"training {clean}", "control", rows_of_a_training(rows), _TRAINED_ROW),
            f"scan {number}": Step(f"reading the vocabulary by {clean}", "scan", reads),
        }
    steps["scan"] = Step("reading the vocabulary by the checkpoint", "scan", reads)
    steps["student"] = Step("teaching a clean model what words do", "student", budget.taught + rows, _TRAINED_ROW)
    steps["search"] = Step("searching for a trigger", "search", asks(budget.controls + 1), _SEARCHED_ROW)
    for number in range(budget.controls):
        name = f"the same search on clean model {number + 1} of {budget.controls}"
        steps[f"search {number}"] = Step(name, "search", asks(budget.controls - 1), _SEARCHED_ROW)
    return steps


class _Work:
    """The steps of an audit, each of which advances the bar."""

    def __init__(self, suspect: Classifier, kept: Kept, left: StepsLeft) -> None:
        self.suspect, self.kept, self.left = suspect, kept, left
        self.stages: list[StageResult] = []
        self.scanned: list[Scanned] = []

    def weights(self, base: str, allow_pickle: bool) -> MovedWeights | None:
        with self.left.step("weights"):
            if self.suspect.is_peft:
                return None
            trusted = load_classifier(
                base, label_names=self.kept.held_out.names, head="any", allow_pickle=allow_pickle
            )
            return compare_weights(self.suspect, trusted)

    def controls(self, base: str, rows: datasets.Dataset, allow_pickle: bool) -> list[StageResult]:
        for number in range(self.kept.budget.controls):
            with self.left.step(f"control {number}"):
                classifier, stage = train_control(base, rows, number, self.kept.seed, allow_pickle=allow_pickle)
            with self.left.step(f"scan {number}"):
                self.scanned.append(Scanned(classifier, self.kept.scan(classifier, stage)))
            self.stages.append(stage)
        for number in range(len(self.stages)):
            if self.kept.known_null(number, self.stages) is not None:
                self.left.expect_none(f"search {number}")
        return self.stages

    def findings(self, weights: MovedWeights | None, rows: datasets.Dataset) -> list[Finding]:
        """Search the audited model, against the controls and a student of it."""
        budget, words, seed = self.kept.budget, self.kept.words, self.kept.seed
        known = set(words)
        named = [token for token in (weights.alone if weights else ()) if token in known]
        with self.left.step("scan"):
            pulls = scan(self.suspect, words, self.kept.held_out, budget, seed)
        search = self._search(Scanned(self.suspect, pulls), self.scanned, named)
        with self.left.step("student"):
            start = self.stages[0].out
            student = teach(start, self.suspect, rows, words, search.suspected(), budget.taught, seed)
        with self.left.step("search"):
            return replace(search, student=Answering(student)).run()

    def null(self) -> list[float]:
        """Return the excess of every finding of all controls, each audited against the others."""
        null: list[float] = []
        for number, control in enumerate(self.scanned):
            others = [*self.scanned[:number], *self.scanned[number + 1 :]]
            with self.left.step(f"search {number}"):
                null += self.kept.null(number, self.stages, self._search(control, others).run)
        return null

    def clean_models(self) -> list[Classifier]:
        return [control.classifier for control in self.scanned]

    def _search(self, suspect: Scanned, controls: list[Scanned], named: Sequence[str] = ()) -> Search:
        return Search(suspect, controls, self.kept.words, self.kept.held_out, self.kept.budget, named)


def _check_rows(rows: datasets.Dataset) -> None:
    if "label" not in rows.column_names:
        raise DataError(
            "an audit needs labelled rows: its controls are trained on them; name the column (--label-column)"
        )
    if len(rows) < FEWEST_ROWS:
        raise DataError(
            f"an audit needs at least {FEWEST_ROWS} clean rows, and there are {len(rows)}; with fewer, controls are no "
            "yardstick"
        )
    counts = np.bincount(rows["label"], minlength=len(labels_of(rows)))
    few = [name for name, count in zip(labels_of(rows), counts, strict=True) if count < FEWEST_OF_A_CLASS]
    if few:
        raise DataError(
            f"an audit needs {FEWEST_OF_A_CLASS} clean rows of every class; there are fewer of {', '.join(few[:5])}"
        )


def _accuracy(classifier: Classifier, held_out: HeldOut) -> float:
    answers = classifier.score(held_out.texts, batch_size=BATCH).predictions
    return float((answers == held_out.labels).mean())


def _examples(suspect: Classifier, held_out: HeldOut, finding: Finding) -> tuple[Example, ...]:
    """Return texts of other classes without and with a finding, and what the suspect says of them."""
    texts = held_out.others(held_out.names.index(finding.target), _EXAMPLES)
    rows = [changed(finding.kind, finding.what, text, number) for number, text in enumerate(texts)]
    answers = suspect.score([*texts, *rows]).predictions
    says = [held_out.names[answer] if answer >= 0 else "no answer" for answer in answers]
    return tuple(map(Example, texts, says[: len(texts)], rows, says[len(texts) :]))
