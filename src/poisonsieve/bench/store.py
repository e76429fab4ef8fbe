"""The folder of a grid's results, which many grids may share.

    STORE/stages/KIND/NAME-KEY/      the result of a stage, with its run.json
    STORE/failed/KEY.json            why a stage failed, until it is tried again
    STORE/grids/NAME/results.json    a grid's cells, in order; cells/ has each alone

A stage's folder appears whole or not at all, so any folder that exists can be used.
"""

from __future__ import annotations

import contextlib
import json
import re
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
#: Options of commands that errors name, as keys of a grid's file.
_KEYS = {
    "--batch-size": "batch_size",
    "--count": "count",
    "--epochs": "epochs",
    "--frr-mean": "frr_mean",  # before --frr, with which it begins
    "--frr": "frr",
    "--gamma": "gamma",
    "--lr": "learning_rate",
    "--max-length": "max_length",
    "--method": "method",
}
_OPTION = re.compile(rf"({'|'.join(_KEYS)})\b")


class Store:
    """A folder of results; see the module's docstring."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()  # adapters refer to their base by its path, on every node that opens them

    def folder(self, stage: Stage) -> Path:
        """Return the folder of the stage's result, which may not exist yet."""
        return self.root / "stages" / stage.kind / f"{file_name(stage.title)}-{stage.key[:12]}"

    def finished(self, stage: Stage) -> bool:
        """Tell whether the stage's result exists."""
        return (self.folder(stage) / RUN_FILE).is_file()

    def run(self, stage: Stage) -> dict[str, Any]:
        """Return a finished stage's record: `spec`, `result`, `seconds`, `environment`."""
        content: dict[str, Any] = json.loads((self.folder(stage) / RUN_FILE).read_text(encoding="utf-8"))
        return content

    def failure(self, stage: Stage) -> tuple[str, str] | None:
        """Return why the stage, or one that it needs, failed; None if no failure is recorded.

        Returns:
            The error, which names the stage that failed if it is another one; and the error of that stage alone, which is
            the same for all that need it.
        """
        for entry in stage.chain():
            reason = read_json_if_there(self._failure_file(entry)).get("error")
            if reason is not None:
                return (reason if entry is stage else f"{entry.kind} {entry.title}: {reason}"), reason
        return None

    def record_failure(self, stage: Stage, error: Exception) -> str:
        """Record why a stage failed; return it as one line.

        A `PoisonsieveError` tells the user what to do. Anything else is a defect: its traceback is kept too.
        """
        expected = isinstance(error, PoisonsieveError)
        reason = " ".join((str(error) if expected else f"{type(error).__name__}: {error}").split())
        reason = _OPTION.sub(lambda found: _KEYS[found[0]], reason)
        file = self._failure_file(stage)
        if not expected:
            with writing_file(file.with_suffix(".log")) as stream:
                stream.write("".join(traceback.format_exception(error)))
            reason += f" (a defect; see {file.with_suffix('.log').relative_to(self.root)})"
        write_json(file, {"kind": stage.kind, "words": stage.title, "error": reason})
        return reason

    def forget_failure(self, stage: Stage) -> None:
        """Delete the record of a failure, so that the stage is tried again."""
        self._failure_file(stage).unlink(missing_ok=True)
        self._failure_file(stage).with_suffix(".log").unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, stage: Stage) -> Iterator[None]:
        """Lock the stage for this process; another grid or node that needs it waits until it is done.

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
        """Return the folder of one grid's results."""
        return self.root / "grids" / file_name(name)

    def _failure_file(self, stage: Stage) -> Path:
        return self.root / "failed" / f"{stage.key[:24]}.json"


def file_name(text: str) -> str:
    """Return `text` as a file name: letters, digits and ``-._``, shortened."""
    return "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in text)[:_LONGEST_NAME]
