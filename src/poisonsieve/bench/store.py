"""Where a grid's results are kept: one folder that many grids may share.

    STORE/stages/KIND/WORDS-KEY/     what a stage left, with its run.json
    STORE/failed/KEY.json            why a stage could not be done, until it is tried again
    STORE/grids/NAME/results.json    a grid's cells, in order; cells/ has each alone

A stage's folder appears whole or not at all, so whatever is there can be used.
"""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poisonsieve.bench.plan import Stage
from poisonsieve.errors import PoisonsieveError
from poisonsieve.storage import read_json_if_there, reporting_write_errors, write_json, writing_file

RUN_FILE = "run.json"
RESULTS_FILE = "results.json"
_LONGEST_NAME = 60


class Store:
    """The folder of results; see the module."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()  # adapters name their base by its place, on whatever node they are opened

    def folder(self, stage: Stage) -> Path:
        """Where the stage's result is, or will be."""
        return self.root / "stages" / stage.kind / f"{file_name(stage.words)}-{stage.key[:12]}"

    def finished(self, stage: Stage) -> bool:
        """Whether the stage's result is there."""
        return (self.folder(stage) / RUN_FILE).is_file()

    def run(self, stage: Stage) -> dict[str, Any]:
        """What a finished stage says of itself: `spec`, `result`, `seconds`, `environment`."""
        content: dict[str, Any] = json.loads((self.folder(stage) / RUN_FILE).read_text(encoding="utf-8"))
        return content

    def failure(self, stage: Stage) -> str | None:
        """Why the stage, or the one of those it stands on, could not be done; None if that is not known to be so."""
        for entry in stage.chain():
            said = read_json_if_there(self._failure_file(entry)).get("error")
            if said is not None:
                return str(said) if entry is stage else f"{entry.kind} {entry.words}: {said}"
        return None

    def record_failure(self, stage: Stage, error: Exception) -> str:
        """Write down why a stage could not be done; returns it as one line.

        What the user has to mend says so itself. Anything else is a defect: its traceback is kept beside the record.
        """
        expected = isinstance(error, PoisonsieveError)
        said = " ".join((str(error) if expected else f"{type(error).__name__}: {error}").split())
        file = self._failure_file(stage)
        if not expected:
            with writing_file(file.with_suffix(".log")) as stream:
                stream.write("".join(traceback.format_exception(error)))
            said += f" (a defect; see {file.with_suffix('.log').relative_to(self.root)})"
        write_json(file, {"kind": stage.kind, "words": stage.words, "error": said})
        return said

    def forget_failure(self, stage: Stage) -> None:
        """Let the stage be tried again."""
        self._failure_file(stage).unlink(missing_ok=True)
        self._failure_file(stage).with_suffix(".log").unlink(missing_ok=True)

    @contextlib.contextmanager
    def turn(self, stage: Stage) -> Iterator[None]:
        """Hold the stage for this process; another grid or node that needs the same one waits until it is done.

        Raises:
            OutputError: the store cannot be written to.
        """
        from filelock import FileLock

        lock = self.root / ".locks" / f"{stage.key[:24]}.lock"
        with contextlib.ExitStack() as held:
            with reporting_write_errors(self.root):
                lock.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(lock))
            yield

    def grid(self, name: str) -> Path:
        """The folder of one grid's results."""
        return self.root / "grids" / file_name(name)

    def _failure_file(self, stage: Stage) -> Path:
        return self.root / "failed" / f"{stage.key[:24]}.json"


def file_name(words: str) -> str:
    """`words` as a file name: letters, digits and a few signs, not too long."""
    return "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in words)[:_LONGEST_NAME]
