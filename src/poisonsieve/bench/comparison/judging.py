"""One defence before one victim: every kind of defence brought to the same columns.

A detector rejects, a rewriter changes texts, a repair changes weights. What is counted is the same for all: what the
victim says of clean and of triggered rows, and which of them it never gets to answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poisonsieve.defenses import Rewriter, WeightRepair
from poisonsieve.errors import ConfigError
from poisonsieve.guard import Guard, GuardedClassifier
from poisonsieve.guard.evaluation import Scores, score_rows
from poisonsieve.metrics import attack_success_rate, auroc, clean_accuracy, false_rejection_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import datasets

    from poisonsieve.models.classifier import Classifier


@dataclass(frozen=True)
class Setting:
    """What a defence stands before.

    Attributes:
        theta_p: folder of the poisoned weights.
        victim: the model that was tuned from them.
        train, dev: the user's clean rows.
        clean, triggered: the test rows everything is counted on.
        target: the class the attacker wants.
        workdir: for the state of unfinished training.
        progress: draw progress bars on stderr.
    """

    theta_p: Path
    victim: Classifier
    train: datasets.Dataset
    dev: datasets.Dataset
    clean: datasets.Dataset
    triggered: datasets.Dataset
    target: int
    workdir: Path
    progress: bool = False

    def bar(self, label: str) -> str | None:
        """The label of a progress bar, or None where none is wanted."""
        return label if self.progress else None


@dataclass(frozen=True)
class Outcome:
    """What came out of one cell.

    Attributes:
        clean, triggered: per-row outcomes; the confidences are NaN where the defence gives no scores.
        seconds: wall-clock seconds from texts to answers, victim included, over clean and triggered rows together;
            None where the rewrites came from a file.
        fit_seconds: seconds of everything before that, once a model.
        facts: what the defence chose, JSON-ready.
        save: writes the fitted defence into a folder, where there is something to keep.
    """

    clean: Scores
    triggered: Scores
    seconds: float | None
    fit_seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    save: Callable[[Path], None] | None = None


def judge(defense: Any, setting: Setting) -> Outcome:
    """Run one defence of any kind, or none.

    Args:
        defense: a `Guard`, `Rewriter` or `WeightRepair`, not fitted; None for the victim alone.
        setting: what it stands before.

    Raises:
        ConfigError: it is no defence. Whatever the defence itself raises.
    """
    if defense is None:
        return _answers(setting.victim, setting)
    if isinstance(defense, Guard):
        return _detect(defense, setting)
    if isinstance(defense, Rewriter):
        return _rewrite(defense, setting)
    if isinstance(defense, WeightRepair):
        return _repair(defense, setting)
    raise ConfigError(f"{type(defense).__name__} is no detector, rewriter or repair")


def judge_rewrites(clean: datasets.Dataset, triggered: datasets.Dataset, setting: Setting) -> Outcome:
    """The victim on rows that were rewritten elsewhere."""
    answers = _answers(setting.victim, setting, [list(clean["text"]), list(triggered["text"])])
    return Outcome(answers.clean, answers.triggered, None)


def count(outcome: Outcome, setting: Setting) -> dict[str, Any]:
    """CA, ASR and, for a detector, FRR and AUROC, with 95% intervals: docs/design/0001-metrics.md. JSON-ready."""
    clean, triggered = outcome.clean, outcome.triggered
    rates = {
        "ca": clean_accuracy(clean.predictions, clean.labels, clean.rejected),
        "asr": attack_success_rate(triggered.predictions, triggered.labels, setting.target, triggered.rejected),
    }
    counted: dict[str, Any] = {name: rate.value for name, rate in rates.items()}
    if np.isfinite(clean.confidences).any():
        rates["frr"] = false_rejection_rate(clean.rejected)
        counted["frr"] = rates["frr"].value
        counted["auroc"] = auroc(clean.confidences, triggered.confidences[triggered.labels != setting.target])
    rows = len(setting.clean) + len(setting.triggered)
    return {
        **counted,
        "intervals": {name: [rate.low, rate.high] for name, rate in rates.items()},
        "n_clean": rates["ca"].n,
        "n_triggered": rates["asr"].n,
        "seconds_per_1000": None if outcome.seconds is None else 1000 * outcome.seconds / rows,
        "fit_seconds": outcome.fit_seconds,
        "facts": outcome.facts,
    }


def _answers(victim: Classifier, setting: Setting, rewritten: Sequence[Sequence[str]] | None = None) -> Outcome:
    """What a classifier says of the test rows, or of their rewrites, when nothing is rejected but what it cannot read."""
    started = time.perf_counter()
    texts = rewritten or [list(rows["text"]) for _, rows in _test_rows(setting)]
    said = [
        victim.score(texts[index], progress=setting.bar(name)) for index, (name, _) in enumerate(_test_rows(setting))
    ]
    seconds = time.perf_counter() - started
    clean, triggered = (
        Scores(
            np.asarray(rows["label"]),
            logits.predictions,
            np.full(len(rows), np.nan),
            logits.predictions < 0,
            logits.truncated,
        )
        for logits, (_, rows) in zip(said, _test_rows(setting), strict=True)
    )
    return Outcome(clean, triggered, seconds)


def _detect(detector: Guard, setting: Setting) -> Outcome:
    started = time.perf_counter()
    detector.fit(setting.train, calibration=setting.dev, workdir=setting.workdir, progress=setting.progress)
    fitted = time.perf_counter()
    guarded = GuardedClassifier(detector, setting.victim)
    clean, triggered = (score_rows(guarded, rows, progress=setting.bar(name)) for name, rows in _test_rows(setting))
    seconds = time.perf_counter() - fitted
    return Outcome(
        clean,
        triggered,
        seconds,
        fitted - started,
        detector.threshold_.to_dict(),
        detector.write,
    )


def _rewrite(rewriter: Rewriter, setting: Setting) -> Outcome:
    started = time.perf_counter()
    rewriter.fit(setting.dev, victim=setting.victim, progress=setting.progress)
    fitted = time.perf_counter()
    spared_by_fit = rewriter.spared_seconds
    rewritten = [
        rewriter.rewrite(list(rows["text"]), progress=setting.bar(name)) for name, rows in _test_rows(setting)
    ]
    seconds = time.perf_counter() - fitted + rewriter.spared_seconds - spared_by_fit
    answers = _answers(setting.victim, setting, rewritten)
    changed = [
        float(np.mean([new != old for new, old in zip(texts, rows["text"], strict=True)]))
        for texts, (_, rows) in zip(rewritten, _test_rows(setting), strict=True)
    ]
    facts = {**rewriter.facts(), "changed_clean": changed[0], "changed_triggered": changed[1]}
    fit_seconds = fitted - started + spared_by_fit
    return Outcome(answers.clean, answers.triggered, seconds + (answers.seconds or 0), fit_seconds, facts)


def _repair(repair: WeightRepair, setting: Setting) -> Outcome:
    started = time.perf_counter()
    repaired, facts = repair.repair(
        setting.theta_p, setting.train, setting.dev, workdir=setting.workdir, progress=setting.progress
    )
    fit_seconds = time.perf_counter() - started
    answers = _answers(repaired, setting)
    return Outcome(answers.clean, answers.triggered, answers.seconds, fit_seconds, facts)


def _test_rows(setting: Setting) -> list[tuple[str, datasets.Dataset]]:
    return [("clean", setting.clean), ("triggered", setting.triggered)]
