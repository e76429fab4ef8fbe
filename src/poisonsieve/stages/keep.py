"""A stage turns a spec and its inputs into one folder, once.

A stage's spec holds all that decides its result, data and weights by their digests included. The folder carries that
spec in `run.json`; a stage that finds its own spec there has nothing left to do. Work in progress lives beside the
folder, in `.NAME.partial`, and a killed stage goes on from there. The folder itself appears whole or not at all.
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
_SPEC_FILE = "spec.json"  # of unfinished state
#: A stage's folder, or how it is named once the digest of its spec is known.
Place = Path | Callable[[str], Path]
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


def run_stage(out: Place, spec: dict[str, Any], work: Work, *, force: bool = False) -> StageResult:
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
    if not isinstance(out, Path):
        out = out(digest)
    done = read_json_if_there(out / RUN_FILE)
    if done.get("digest") == digest and not force:
        return StageResult(out, done["result"], True, done["seconds"], digest)
    if not is_first_process():
        return _help(out, digest, work)
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
        if not any(path.is_file() for path in partial.rglob("*") if path.name != _SPEC_FILE):  # nothing to go on from
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


def _help(out: Path, digest: str, work: Work) -> StageResult:
    """The share of a process that trains along; the first process holds the stage and keeps what comes out."""
    started = time.perf_counter()
    wait_for_all()  # until the first process has made room for the unfinished state
    _, result = work(beside(out, "partial"))
    return StageResult(out, result, False, time.perf_counter() - started, digest)


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
    """Hex sha256 of a data set's texts, labels (if it has any) and class names, in order."""
    labels = list(data["label"]) if "label" in data.column_names else None
    return canonical_hash([labels_of(data), list(data["text"]), labels])


def stage_spec(kind: str, start: str, data: dict[str, datasets.Dataset], **parts: Any) -> dict[str, Any]:
    """All that decides a stage's result, JSON-ready: `start` is the digest of what it starts from."""
    values = {
        key: part.model_dump(mode="json") if hasattr(part, "model_dump") else part for key, part in parts.items()
    }
    version = importlib.metadata.version("poisonsieve")
    digests = {key: data_digest(rows) for key, rows in data.items()}
    return {"stage": kind, "version": version, "start": start, **digests, **values}


def _claim(partial: Path, spec: dict[str, Any], *, fresh: bool) -> None:
    """Keep the unfinished state of the same spec, and nothing else's."""
    marker = partial / _SPEC_FILE
    same = read_json_if_there(marker) == spec
    if fresh or not same:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=True)
    write_json(marker, spec)
