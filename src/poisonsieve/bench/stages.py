"""Stages: each turns a spec and its inputs into one folder, once.

A stage's spec holds all that decides its result, data and weights by their digests included. The folder carries that
spec in `run.json`; a stage that finds its own spec there has nothing left to do. Work in progress lives beside the
folder, in `.NAME.partial`, and a killed stage goes on from there. The folder itself appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poisonsieve.config import AttackSpec, TuneSpec
from poisonsieve.data import labels_of
from poisonsieve.errors import CannotApplyError, ConfigError, PoisonsieveError
from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.models.safety import identity_digest
from poisonsieve.models.sources import resolve
from poisonsieve.storage import (
    beside,
    canonical_hash,
    reporting_write_errors,
    require_free,
    write_json,
    writing_folder,
)

if TYPE_CHECKING:
    import datasets

    from poisonsieve.attacks import Trigger
    from poisonsieve.defenses.base import Detector
    from poisonsieve.defenses.repair import WeightRepair
    from poisonsieve.models.classifier import Classifier

RUN_FILE = "run.json"
Work = Callable[[Path], tuple[Callable[[Path], None], dict[str, Any]]]


@dataclass(frozen=True)
class StageResult:
    """What a stage left.

    Attributes:
        out: its folder.
        result: what it measured of itself, JSON-ready.
        reused: the folder was already there, made by the same spec.
        seconds: what the stage took when it was run.
        digest: of the spec: equal for equal inputs and settings, wherever the folder is.
    """

    out: Path
    result: dict[str, Any]
    reused: bool
    seconds: float
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"out": str(self.out), "reused": self.reused, "seconds": self.seconds, **self.result}


def poison_stage(
    model: str,
    data: datasets.Dataset,
    dev: datasets.Dataset,
    attack: AttackSpec,
    make_spec: Callable[[Classifier], TuneSpec],
    out: Path,
    *,
    allow_pickle: bool = False,
    force: bool = False,
    progress: bool = False,
) -> StageResult:
    """theta_p: triggers into `data` by `attack`, then tunes `model` on it. `make_spec` gets the opened model.

    The result has the attacker's own CA and ASR on `dev`; the ASR is None where the trigger fits none of these rows, as
    one that knows its rewrites from a file may not. The best epoch is the best on clean dev accuracy, or the last
    one where the poisoning works in phases.
    """
    from poisonsieve.attacks import make_poisoning, make_trigger, poison_rows
    from poisonsieve.metrics import clean_accuracy
    from poisonsieve.tuning import finetune

    trigger, poisoning = make_trigger(attack.trigger), make_poisoning(attack.weights)
    classifier = load_classifier(
        model, label_names=labels_of(data), head="any", allow_pickle=allow_pickle, seed=attack.seed
    )
    tune = make_spec(classifier)
    spec = _spec(
        "poison", classifier.identity, {"data": data, "dev": dev}, attack=attack, tune=tune, **_read_by(trigger)
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
        return lambda target: save_classifier(classifier, target), result

    return run_stage(out, spec, work, force=force)


def _success_on(
    dev: datasets.Dataset, classifier: Classifier, trigger: Trigger, attack: AttackSpec
) -> dict[str, Any]:
    """The attacker's ASR on dev rows, and how many the trigger cannot be put into."""
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
    out: Path,
    *,
    base: str | None = None,
    allow_pickle: bool = False,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> StageResult:
    """A victim: `model` tuned on clean `data`, best epoch by accuracy on `dev`. `seed` draws a new head, if it needs one."""
    from poisonsieve.tuning import finetune

    classifier = load_classifier(
        model,
        label_names=labels_of(data),
        head="any",
        base=base,
        trainable=True,
        allow_pickle=allow_pickle,
        seed=seed,
    )
    tune = make_spec(classifier)
    spec = _spec("tune", classifier.identity, {"data": data, "dev": dev}, tune=tune, head_seed=seed)

    def work(partial: Path) -> tuple[Callable[[Path], None], dict[str, Any]]:
        new_head = classifier.head_is_new
        bar = f"tuning ({tune.method})" if progress else None
        trained = finetune(classifier, data, tune, dev=dev, workdir=partial, progress=bar)
        result = {
            "training": trained.to_dict(),
            "new_head": new_head,
            "dev_ca": trained.epochs[trained.best_epoch - 1],
        }
        return lambda target: save_classifier(classifier, target), result

    return run_stage(out, spec, work, force=force)


def fit_stage(
    guard: Detector,
    data: datasets.Dataset,
    calibration: datasets.Dataset | None,
    out: Path,
    *,
    force: bool = False,
    progress: bool = False,
) -> StageResult:
    """A guard folder: `guard` fitted on clean `data`, its threshold from `calibration` or a held-out share."""
    plan = guard.plan(labels_of(data))
    inputs = {"data": data} if calibration is None else {"data": data, "calibration": calibration}
    spec = _spec("fit", plan.pop("start"), inputs, **plan)

    def work(partial: Path) -> tuple[Callable[[Path], None], dict[str, Any]]:
        guard.fit(data, calibration=calibration, workdir=partial, progress=progress)
        training = getattr(guard, "training_", None)  # some detectors train nothing
        result = {**guard.threshold_.to_dict(), **({"training": training.to_dict()} if training else {})}
        return guard.save_pretrained, result

    return run_stage(out, spec, work, force=force)


def repair_stage(
    repair: WeightRepair,
    model: str,
    data: datasets.Dataset,
    dev: datasets.Dataset,
    out: Path,
    *,
    allow_pickle: bool = False,
    force: bool = False,
    progress: bool = False,
) -> StageResult:
    """A repaired model: `model` as `repair` makes it with clean `data`, every choice made on clean `dev`."""
    start = identity_digest([resolve(model, allow_pickle=allow_pickle)])
    spec = _spec("repair", start, {"data": data, "dev": dev}, repair=repair.plan())

    def work(partial: Path) -> tuple[Callable[[Path], None], dict[str, Any]]:
        repaired, facts = repair.repair(model, data, dev, workdir=partial, progress=progress)
        return lambda target: save_classifier(repaired, target), facts

    return run_stage(out, spec, work, force=force)


def run_stage(out: Path, spec: dict[str, Any], work: Work, *, force: bool = False) -> StageResult:
    """Run `work` unless `out` already holds its result.

    Args:
        out: the stage's folder.
        spec: all that decides the result, JSON-ready.
        work: gets the folder for unfinished state; returns a function that writes the result into a folder, and
            what was measured.
        force: run again and replace what is there.

    Raises:
        ConfigError: `out` holds something else and `force` is off, or another process is at work on it.
        OutputError: `out` cannot be written.
    """
    spec = json.loads(json.dumps(spec))
    digest = canonical_hash(spec)
    done = _load_json(out / RUN_FILE)
    if isinstance(done, dict) and done.get("digest") == digest and not force:
        return StageResult(out, done["result"], True, done["seconds"], digest)
    require_free(out, force=force)
    with _alone(out):
        return _run(out, spec, digest, work, force)


def _run(out: Path, spec: dict[str, Any], digest: str, work: Work, force: bool) -> StageResult:
    partial = beside(out, "partial")
    started = time.perf_counter()
    with reporting_write_errors(out):
        _claim(partial, spec, fresh=force)
    try:
        write, result = work(partial)
    except PoisonsieveError:
        if not any(partial.rglob("checkpoint-*")):  # nothing to go on from
            shutil.rmtree(partial, ignore_errors=True)
        raise
    seconds = time.perf_counter() - started
    with writing_folder(out) as target:
        write(target)
        write_json(
            target / RUN_FILE,
            {"digest": digest, "spec": spec, "result": result, "seconds": seconds, "environment": environment()},
        )
    shutil.rmtree(partial, ignore_errors=True)
    return StageResult(out, result, False, seconds, digest)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold `out` for this process: two that share one unfinished state would spoil it. A killed process lets go."""
    from filelock import FileLock, Timeout

    path = beside(out, "lock")
    lock = FileLock(path, timeout=0)
    with reporting_write_errors(out):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise ConfigError(f"another process is at work on {out}; wait for it, or choose another --out") from None
    try:
        yield
    finally:
        lock.release()
        path.unlink(missing_ok=True)


def data_digest(data: datasets.Dataset) -> str:
    """Hex sha256 of a data set's texts, labels and class names, in order."""
    return canonical_hash([labels_of(data), list(data["text"]), list(data["label"])])


def environment() -> dict[str, str]:
    """Versions and machine, for the record."""
    import torch

    packages = ("poisonsieve", "torch", "transformers", "peft", "datasets", "numpy")
    return {
        **{name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
    }


def _processor() -> str:
    """The processor's name; Linux says it in a file only."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _spec(kind: str, start: str, data: dict[str, datasets.Dataset], **parts: Any) -> dict[str, Any]:
    values = {
        key: part.model_dump(mode="json") if hasattr(part, "model_dump") else part for key, part in parts.items()
    }
    version = importlib.metadata.version("poisonsieve")
    digests = {key: data_digest(rows) for key, rows in data.items()}
    return {"stage": kind, "version": version, "start": start, **digests, **values}


def _read_by(trigger: Trigger) -> dict[str, str]:
    """The digest of the files or weights that decide a trigger; its spec has nothing but their names."""
    digest = getattr(trigger, "digest", None)
    return {} if digest is None else {"trigger_reads": digest()}


def _claim(partial: Path, spec: dict[str, Any], *, fresh: bool) -> None:
    """Keep the unfinished state of the same spec, and nothing else's."""
    marker = partial / "spec.json"
    same = _load_json(marker) == spec
    if fresh or not same:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=True)
    write_json(marker, spec)


def _load_json(path: Path) -> Any:
    """What the file holds, or None if it is not there or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
