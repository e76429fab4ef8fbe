"""A stage turns a spec and its inputs into one folder, once.

A stage's spec holds everything that decides its result, with digests of its data and weights. The folder carries that
spec in `run.json`; a stage that finds its own spec there has nothing left to do. Unfinished work is kept beside the
folder, in `.NAME.partial`, and a killed stage resumes from there. The folder itself appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poisonsieve.data import labels_of
from poisonsieve.environment import environment, is_first_process, wait_for_all
from poisonsieve.errors import ConfigError, PoisonsieveError
from poisonsieve.storage import (
    beside,
    canonical_hash,
    read_json_if_there,
    reporting_write_errors,
    require_free,
    write_json,
    writing_folder,
)

if TYPE_CHECKING:
    import datasets

RUN_FILE = "run.json"
_SPEC_FILE = "spec.json"  # in the folder of unfinished work
#: A stage's folder, or a function that names it by the digest of the spec.
Place = Path | Callable[[str], Path]
Work = Callable[[Path], tuple[Callable[[Path], None], dict[str, Any]]]


@dataclass(frozen=True)
class StageResult:
    """The outcome of a stage.

    Attributes:
        out: the stage's folder.
        result: the stage's own measurements, JSON-ready.
        reused: whether the folder already existed, made by the same spec.
        seconds: time the stage took when it ran.
        digest: digest of the spec: the same for the same inputs and settings, wherever the folder is.
    """

    out: Path
    result: dict[str, Any]
    reused: bool
    seconds: float
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {"out": str(self.out), "reused": self.reused, "seconds": self.seconds, **self.result}


def run_stage(out: Place, spec: dict[str, Any], work: Work, *, force: bool = False) -> StageResult:
    """Run `work` unless `out` already holds its result.

    Args:
        out: the stage's folder.
        spec: everything that decides the result, JSON-ready.
        work: receives the folder for unfinished work; returns a function that writes the result into a folder, and
            the measurements.
        force: run again and replace an existing result.

    Raises:
        ConfigError: `out` holds something else and `force` is off, or another process is working on it.
        OutputError: `out` cannot be written.
    """
    spec = json.loads(json.dumps(spec))
    digest = canonical_hash(spec)
    if not isinstance(out, Path):
        out = out(digest)
    done = read_json_if_there(out / RUN_FILE)
    if done.get("digest") == digest and not force:
        return StageResult(out, done["result"], True, done["seconds"], digest)
    if not is_first_process():
        return _train_along(out, digest, work)
    require_free(out, force=force)
    with _alone(out):
        return _run(out, spec, digest, work, force)


def _run(out: Path, spec: dict[str, Any], digest: str, work: Work, force: bool) -> StageResult:
    partial = beside(out, "partial")
    started = time.perf_counter()
    with reporting_write_errors(out):
        _claim(partial, spec, fresh=force)
    try:
        wait_for_all()
        write, result = work(partial)
    except PoisonsieveError:
        if not any(
            path.is_file() for path in partial.rglob("*") if path.name != _SPEC_FILE
        ):  # nothing to resume from
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


def _train_along(out: Path, digest: str, work: Work) -> StageResult:
    """Do the share of a secondary training process; the main process holds the stage and keeps the result."""
    started = time.perf_counter()
    wait_for_all()  # until the main process has made the folder for unfinished work
    _, result = work(beside(out, "partial"))
    return StageResult(out, result, False, time.perf_counter() - started, digest)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Lock `out` for this process: two processes would corrupt the same unfinished work. A killed process lets go."""
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
    """Return the hex sha256 of a data set's texts, labels (if any) and class names, in order."""
    labels = list(data["label"]) if "label" in data.column_names else None
    return canonical_hash([labels_of(data), list(data["text"]), labels])


def stage_spec(kind: str, start: str, data: dict[str, datasets.Dataset], **parts: Any) -> dict[str, Any]:
    """Return everything that decides a stage's result, JSON-ready; `start` is the digest of what it starts from."""
    values = {
        key: part.model_dump(mode="json") if hasattr(part, "model_dump") else part for key, part in parts.items()
    }
    version = importlib.metadata.version("poisonsieve")
    digests = {key: data_digest(rows) for key, rows in data.items()}
    return {"stage": kind, "version": version, "start": start, **digests, **values}


def _claim(partial: Path, spec: dict[str, Any], *, fresh: bool) -> None:
    """Keep unfinished work of the same spec only; delete any other."""
    marker = partial / _SPEC_FILE
    same = read_json_if_there(marker) == spec
    if fresh or not same:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=True)
    write_json(marker, spec)
