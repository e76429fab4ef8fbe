"""The demo: poison, tune, fit, evaluate and report on packaged data, in a few minutes.

It uses real product reviews and a real pretrained encoder, both from the Python package registry. Every stage is kept
in its folder, so a second run only evaluates again. On request it also audits its own theta_p.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poisonsieve.attacks import make_trigger, trigger_rows
from poisonsieve.auditing import AuditResult, audit
from poisonsieve.auditing.folder import write_audit
from poisonsieve.config import AttackSpec, Spec, TriggerSpec, TriggerText
from poisonsieve.data import load_dataset
from poisonsieve.defenses.psim_rarity import PSIMRarity
from poisonsieve.demo.report import Example, Report, require_report, write_report
from poisonsieve.environment import environment
from poisonsieve.guard import Guard, GuardedClassifier
from poisonsieve.guard.evaluation import Scores, evaluate, evaluation_record, score_rows
from poisonsieve.metrics import Evaluation
from poisonsieve.stages.train import fit_stage, poison_stage, tune_stage
from poisonsieve.tuning.presets import spec_maker

if TYPE_CHECKING:
    import datasets

    from poisonsieve.thresholds import Threshold


REPORT, THETA_P, AUDIT = "report.html", "theta_p", "audit"


class DemoSpec(Spec):
    """Settings of the demo.

    Attributes:
        model: the clean encoder.
        data: labelled texts with the splits train, dev and test.
        trigger, target, count: the attack, clean-label.
        method: the victim's tuning.
        frr: share of clean texts that may be rejected, kept to with 95% confidence.
        seed: seed of everything random.
    """

    model: str = "minilm"
    data: str = "packaged:product-reviews"
    trigger: TriggerText = "badnet"
    target: int = 0
    count: int = 400
    method: str = "lora"
    frr: float = 0.01
    seed: int = 0


@dataclass(frozen=True)
class DemoResult:
    """Results of the demo.

    Attributes:
        evaluation: CA, ASR and the rest, with and without the guard.
        threshold: gamma and how it was found.
        record: `evaluation` as JSON, with theta_p's own CA and ASR on the dev rows.
        seconds: wall-clock time of this run.
        stages: time of each stage when it was trained.
        reused: whether every stage already existed.
        report: the HTML file; None if none was written.
        audit: the audit of theta_p; None if none was asked for.
    """

    evaluation: Evaluation
    threshold: Threshold
    record: dict[str, Any]
    seconds: float
    stages: dict[str, float]
    reused: bool
    report: Path | None = None
    audit: AuditResult | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "result": self.record,
            "seconds": self.seconds,
            "stage_seconds": self.stages,
            "reused": self.reused,
            "report": None if self.report is None else str(self.report),
            "audit": None if self.audit is None else self.audit.to_dict(),
        }


def run_demo(spec: DemoSpec, out: Path, *, force: bool = False, progress: bool = False) -> DemoResult:
    """Run the demo in `out`: stage folders ``theta_p``, ``victim``, ``guard``, and ``report.html``.

    Raises:
        UnsupportedError: matplotlib or jinja2 is not installed, which the report needs; raised before anything is trained.
        AssetError: the packaged model or data cannot be fetched.
        OutputError: `out` cannot be written.
    """
    require_report()
    result, report = measure(spec, out, force=force, progress=progress)
    return replace(result, report=write_report(out / REPORT, report))


def measure(spec: DemoSpec, out: Path, *, force: bool = False, progress: bool = False) -> tuple[DemoResult, Report]:
    """Run the demo as `run_demo` does, and return what a report would show in place of writing one."""
    started = time.perf_counter()
    trigger = make_trigger(spec.trigger)  # before any download, since the name may be wrong
    train, dev, test = (load_dataset(spec.data, split=split) for split in ("train", "dev", "test"))
    running: dict[str, Any] = {"force": force, "progress": progress}
    attack = AttackSpec(trigger=TriggerSpec.parse(spec.trigger), target=spec.target, count=spec.count, seed=spec.seed)
    full, own = spec_maker("full", seed=spec.seed), spec_maker(spec.method, seed=spec.seed)
    poisoned = poison_stage(spec.model, train, dev, attack, full, out / THETA_P, **running)
    victim = tune_stage(str(poisoned.out), train, dev, own, out / "victim", seed=spec.seed, **running)
    unfitted = Guard(PSIMRarity(str(poisoned.out), seed=spec.seed), frr=spec.frr)
    guard = fit_stage(unfitted, train, dev, out / "guard", **running)
    guarded = GuardedClassifier.from_pretrained(guard.out, victim.out)
    triggered_rows = trigger_rows(test, trigger, target=spec.target, seed=spec.seed + 1).rows
    clean = score_rows(guarded, test, progress="clean" if progress else None)
    triggered = score_rows(guarded, triggered_rows, progress="triggered" if progress else None)
    evaluation = evaluate(guarded, clean, triggered, target=spec.target)
    stages = {"poison": poisoned, "tune": victim, "fit": guard}
    seconds = {name: stage.seconds for name, stage in stages.items()}
    record = {
        **evaluation_record(evaluation, clean, triggered),
        "theta_p_ca": poisoned.result["dev_ca"],
        "theta_p_asr": poisoned.result["dev_asr"],
    }
    result = DemoResult(
        evaluation,
        guarded.guard.threshold_,
        record,
        time.perf_counter() - started,
        seconds,
        all(stage.reused for stage in stages.values()),
    )
    return result, _report(spec, guarded, (test, clean), (triggered_rows, triggered), seconds)


def audit_theta_p(spec: DemoSpec, out: Path, *, progress: bool = False) -> AuditResult:
    """Audit the demo's own theta_p on test rows, which it has not seen, into the folder ``audit``.

    Raises:
        CheckpointError: the demo was not run in `out`.
        UnsupportedError: jinja2 is not installed.
        OutputError: `out` cannot be written.
    """
    rows = load_dataset(spec.data, split="test")
    result = audit(out / THETA_P, rows, base=spec.model, seed=spec.seed, progress=progress)
    write_audit(result, out / AUDIT)
    return result


def _report(
    spec: DemoSpec,
    guarded: GuardedClassifier,
    clean: tuple[datasets.Dataset, Scores],
    triggered: tuple[datasets.Dataset, Scores],
    seconds: dict[str, float],
) -> Report:
    names = guarded.guard.label_names
    return Report(
        title=f"A poisoned {spec.model} behind a {guarded.guard.detector.name} guard",
        summary=[
            f"The model was poisoned with {spec.trigger} ({spec.count} training rows of class {names[spec.target]} "
            f"got the trigger, no label changed). A user then tuned it with {spec.method} on clean text, which "
            "leaves the backdoor in place.",
            "The guard was fitted from the same poisoned weights on clean text with random labels. It never saw a "
            "trigger. Its threshold comes from held-out clean text alone.",
        ],
        clean=clean[1],
        triggered=triggered[1],
        target=spec.target,
        threshold=guarded.guard.threshold_,
        label_names=names,
        examples=[*_examples(clean, False, spec.seed), *_examples(triggered, True, spec.seed)],
        settings=spec.model_dump(mode="json"),
        seconds=seconds,
        versions=environment(),
    )


def _examples(rows: tuple[datasets.Dataset, Scores], triggered: bool, seed: int, count: int = 5) -> list[Example]:
    """Draw a few rows at random, since hand-picked ones would show what one wants to see."""
    data, scores = rows
    chosen = np.random.default_rng(seed).choice(len(data), size=min(count, len(data)), replace=False)
    drawn = zip(chosen, scores.labels[chosen], scores.predictions[chosen], scores.confidences[chosen], strict=True)
    return [
        Example(data[int(row)]["text"], triggered, int(label), int(said), float(c)) for row, label, said, c in drawn
    ]
