"""The training stages of guard and attacker: poison, tune, fit, repair. `stages.keep` runs and keeps them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poisonsieve.config import AttackSpec, TuneSpec
from poisonsieve.data import labels_of
from poisonsieve.errors import CannotApplyError, UnsupportedError
from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.models.safety import identity_digest
from poisonsieve.models.sources import resolve
from poisonsieve.stages.keep import Place, StageResult, run_stage, stage_spec

if TYPE_CHECKING:
    import datasets

    from poisonsieve.attacks import Trigger
    from poisonsieve.defenses.repair import WeightRepair
    from poisonsieve.guard import Guard
    from poisonsieve.models.classifier import Classifier


def poison_stage(
    model: str,
    data: datasets.Dataset,
    dev: datasets.Dataset,
    attack: AttackSpec,
    make_spec: Callable[[Classifier], TuneSpec],
    out: Place,
    *,
    allow_pickle: bool = False,
    bits: int | None = None,
    force: bool = False,
    progress: bool = False,
) -> StageResult:
    """Make theta_p: poison `data` by `attack`, and tune `model` on it. `make_spec` gets the opened model.

    The result has the attacker's own CA and ASR on `dev`; the ASR is None if the trigger fits none of these rows, as
    can happen to a trigger that reads rewrites from a file. The epoch kept is the best by clean dev accuracy, or the
    last one if the poisoning works in phases.

    With `bits`, the model is opened frozen in 4 bits, and `make_spec` must request LoRA. theta_p is then a whole
    model, the model's weights with the LoRA update merged in, which later stages open in 4 bits again.
    """
    from poisonsieve.attacks import make_poisoning, make_trigger, poison_rows
    from poisonsieve.metrics import clean_accuracy
    from poisonsieve.tuning import finetune

    trigger, poisoning = make_trigger(attack.trigger), make_poisoning(attack.weights)
    classifier = load_classifier(
        model, label_names=labels_of(data), head="any", allow_pickle=allow_pickle, bits=bits, seed=attack.seed
    )
    tune = make_spec(classifier)
    _check_mergeable(bits, tune, attack.weights.name)
    rows = {"data": data, "dev": dev}
    spec = stage_spec(
        "poison", classifier.provenance.identity, rows, attack=attack, tune=tune, **_read_by(trigger), **_opened(bits)
    )

    def work(partial: Path) -> tuple[Callable[[Path], None], dict[str, Any]]:
        poisoned, report = poison_rows(data, attack)
        trained = finetune(
            classifier,
            poisoned,
            tune,
            dev=None if poisoning.keeps_last else dev,
            workdir=partial,
            progress="poisoning" if progress else None,
            objective=poisoning,
        )
        result = {
            "poisoning": report.to_dict(),
            "training": trained.to_dict(),
            "dev_ca": float(clean_accuracy(classifier.score(dev["text"]).predictions, dev["label"])),
            **_success_on(dev, classifier, trigger, attack),
        }
        return _saves(classifier, bits, allow_pickle), result

    return run_stage(out, spec, work, force=force)


def _opened(bits: int | None) -> dict[str, int]:
    return {} if bits is None else {"bits": bits}


def _check_mergeable(bits: int | None, tune: TuneSpec, poisoning: str) -> None:
    """Refuse, before training, a result that could not be merged into the weights.

    Raises:
        UnsupportedError: a tuning other than LoRA, or a poisoning that changes weights directly.
    """
    if bits is not None and (tune.method != "lora" or poisoning != "full"):
        raise UnsupportedError(
            f"a model in {bits} bits cannot be poisoned by {tune.method if tune.method != 'lora' else poisoning}; use "
            "plain LoRA, which can be merged into its weights"
        )


def _saves(classifier: Classifier, bits: int | None, allow_pickle: bool) -> Callable[[Path], None]:
    """Return a writer of the trained model; a base that the stage opened in 4 bits is merged into a whole model."""
    if bits is None:
        return lambda target: save_classifier(classifier, target)
    from poisonsieve.models.merging import merged

    return lambda target: save_classifier(merged(classifier, allow_pickle), target)


def _success_on(
    dev: datasets.Dataset, classifier: Classifier, trigger: Trigger, attack: AttackSpec
) -> dict[str, Any]:
    """Return the attacker's ASR on dev rows, and how many the trigger cannot be put into."""
    from poisonsieve.attacks import trigger_rows
    from poisonsieve.metrics import attack_success_rate

    try:
        triggered = trigger_rows(dev, trigger, target=attack.target, seed=attack.seed)
    except CannotApplyError:
        return {"dev_asr": None, "dev_not_applicable": sum(label != attack.target for label in dev["label"])}
    predictions = classifier.score(triggered.rows["text"]).predictions
    return {
        "dev_asr": float(attack_success_rate(predictions, triggered.rows["label"], attack.target)),
        "dev_not_applicable": triggered.not_applicable,
    }


def tune_stage(
    model: str,
    data: datasets.Dataset,
    dev: datasets.Dataset,
    make_spec: Callable[[Classifier], TuneSpec],
    out: Place,
    *,
    base: str | None = None,
    allow_pickle: bool = False,
    bits: int | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> StageResult:
    """Tune a victim: `model` on clean `data`, best epoch by accuracy on `dev`. `seed` draws any new head.

    With `bits` the result is a whole model, as in `poison_stage`: theta_p's counterpart when nobody poisons.
    """
    from poisonsieve.tuning import finetune

    classifier = load_classifier(
        model,
        label_names=labels_of(data),
        head="any",
        base=base,
        trainable=True,
        allow_pickle=allow_pickle,
        bits=bits,
        seed=seed,
    )
    tune = make_spec(classifier)
    _check_mergeable(bits, tune, "full")
    rows = {"data": data, "dev": dev}
    spec = stage_spec("tune", classifier.provenance.identity, rows, tune=tune, head_seed=seed, **_opened(bits))

    def work(partial: Path) -> tuple[Callable[[Path], None], dict[str, Any]]:
        new_head = classifier.head_is_new
        bar = f"tuning ({tune.method})" if progress else None
        trained = finetune(classifier, data, tune, dev=dev, workdir=partial, progress=bar)
        result = {
            "training": trained.to_dict(),
            "new_head": new_head,
            "dev_ca": trained.epochs[trained.best_epoch - 1],
        }
        return _saves(classifier, bits, allow_pickle), result

    return run_stage(out, spec, work, force=force)


def fit_stage(
    guard: Guard,
    data: datasets.Dataset,
    calibration: datasets.Dataset | None,
    out: Place,
    *,
    force: bool = False,
    progress: bool = False,
) -> StageResult:
    """Make a guard folder: fit `guard` on clean `data`, with a threshold from `calibration` or a held-out share."""
    plan = guard.plan(labels_of(data) or None)
    inputs = {"data": data} if calibration is None else {"data": data, "calibration": calibration}
    spec = stage_spec("fit", plan.pop("start"), inputs, **plan)

    def work(partial: Path) -> tuple[Callable[[Path], None], dict[str, Any]]:
        guard.fit(data, calibration=calibration, workdir=partial, progress=progress)
        training = getattr(guard.detector, "training_", None)  # some detectors train nothing
        found = guard.calibration_.threshold  # None if only the scores are wanted
        result = {**(found.to_dict() if found else {}), **({"training": training.to_dict()} if training else {})}
        return guard.save_pretrained, result

    return run_stage(out, spec, work, force=force)


def repair_stage(
    repair: WeightRepair,
    model: str,
    data: datasets.Dataset,
    dev: datasets.Dataset,
    out: Place,
    *,
    allow_pickle: bool = False,
    force: bool = False,
    progress: bool = False,
) -> StageResult:
    """Repair a model: apply `repair` to `model` with clean `data`, making every choice on clean `dev`."""
    start = identity_digest([resolve(model, allow_pickle=allow_pickle)])
    spec = stage_spec("repair", start, {"data": data, "dev": dev}, repair=repair.plan())

    def work(partial: Path) -> tuple[Callable[[Path], None], dict[str, Any]]:
        repaired, facts = repair.repair(model, data, dev, workdir=partial, progress=progress)
        return lambda target: save_classifier(repaired, target), facts

    return run_stage(out, spec, work, force=force)


def _read_by(trigger: Trigger) -> dict[str, str]:
    """Return the digest of the files or weights that decide a trigger; its spec only has their names."""
    digest = getattr(trigger, "digest", None)
    return {} if digest is None else {"trigger_reads": digest()}
