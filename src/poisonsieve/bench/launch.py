"""Run a stage here, or in several processes that train one model together, through accelerate in the Trainer.

Every process runs the stage; the first keeps the result, and the others only do their share of every batch. The batch
size of a spec is the total over all processes, so that their number changes only the last digits.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from poisonsieve.bench.plan import Stage
from poisonsieve.bench.spec import RunOptions
from poisonsieve.bench.store import Store
from poisonsieve.bench.work import TRAINING, do_stage
from poisonsieve.errors import LaunchError, PoisonsieveError
from poisonsieve.storage import write_json

_WORKER = "poisonsieve.bench.launch"


def attempt(stage: Stage, store: Store, options: RunOptions) -> str | None:
    """Run a stage whose needs are done, unless its result exists; return one line on why it failed, or None.

    Every failure is recorded with the stage, so that the rest of a grid can go on.

    Raises:
        OutputError: the store cannot be written to.
        KeyboardInterrupt: the user interrupted; finished results stay.
    """
    with store.lock(stage):
        if store.finished(stage):
            return None
        try:
            if options.processes > 1 and stage.kind in TRAINING:
                launch(stage, store, options)
            else:
                do_stage(stage, store, options)
        except Exception as error:
            return store.record_failure(stage, error)
        store.forget_failure(stage)
        return None


def launch(stage: Stage, store: Store, options: RunOptions) -> None:
    """Run a stage in `options.processes` processes, and wait for them. Their output goes to a log in the store.

    Raises:
        LaunchError: they ended without the stage's result; names the log, and the reason if known.
    """
    task = store.root / "launched" / f"{stage.key[:24]}.json"
    write_json(task, {"stage": stage.to_dict(), "store": str(store.root), "options": options.model_dump(mode="json")})
    log = task.with_suffix(".log")
    with log.open("wb") as stream:
        ran = subprocess.run([*command(options), str(task)], stdout=stream, stderr=subprocess.STDOUT, check=False)
    error_file = task.with_suffix(".error")
    reason = error_file.read_text(encoding="utf-8") if error_file.is_file() else f"exit code {ran.returncode}"
    error_file.unlink(missing_ok=True)
    if not store.finished(stage):
        raise LaunchError(f"{options.processes} processes: {reason}; see {log.relative_to(store.root)}")
    task.unlink()


def command(options: RunOptions) -> list[str]:
    """Return the command that launches the processes: torch's launcher, or accelerate's with the user's config."""
    count, config = str(options.processes), options.launch_config
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", count]
    if config is not None:
        launcher = ["accelerate.commands.launch", "--config_file", str(config), "--num_processes", count]
    return [sys.executable, "-m", *launcher, "-m", _WORKER]


def main(task: Path) -> None:
    """Run a stage in one of the processes."""
    from poisonsieve.environment import is_first_process

    content = json.loads(task.read_text(encoding="utf-8"))
    stage, options = Stage.from_dict(content["stage"]), RunOptions(**content["options"])
    try:
        do_stage(stage, Store(Path(content["store"])), options.model_copy(update={"progress": False}))
    except PoisonsieveError as error:
        if is_first_process():
            task.with_suffix(".error").write_text(str(error), encoding="utf-8")
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
