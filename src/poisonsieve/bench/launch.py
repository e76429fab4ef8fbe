"""A stage is attempted: here, or by several processes that train one model together, through accelerate in the Trainer.

Every process does the stage; the first keeps what comes out, the others only do their share of every batch. The batch
size of a spec is that of all processes together, so that the number of processes changes the last digits and no more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from poisonsieve.bench.plan import Stage
from poisonsieve.bench.spec import How
from poisonsieve.bench.store import Store
from poisonsieve.bench.work import TRAINING, do
from poisonsieve.errors import LaunchError, PoisonsieveError
from poisonsieve.storage import write_json

_WORKER = "poisonsieve.bench.launch"


def attempt(stage: Stage, store: Store, how: How) -> str | None:
    """Do a stage whose needs are done, unless its result is there; one line on why it could not be done, if so.

    Whatever goes wrong is recorded with the stage, so that the rest of a grid can go on.

    Raises:
        OutputError: the store cannot be written to.
        KeyboardInterrupt: the user has had enough; what is finished stays.
    """
    with store.turn(stage):
        if store.finished(stage):
            return None
        try:
            if how.processes > 1 and stage.kind in TRAINING:
                launch(stage, store, how)
            else:
                do(stage, store, how)
        except Exception as error:
            return store.record_failure(stage, error)
        store.forget_failure(stage)
        return None


def launch(stage: Stage, store: Store, how: How) -> None:
    """Do a stage by `how.processes` processes, and wait for them. What they print goes to a log in the store.

    Raises:
        LaunchError: they ended without the stage's result; names the log and the reason, where it is known.
    """
    task = store.root / "launched" / f"{stage.key[:24]}.json"
    write_json(task, {"stage": stage.to_dict(), "store": str(store.root), "how": how.model_dump(mode="json")})
    log = task.with_suffix(".log")
    with log.open("wb") as stream:
        ran = subprocess.run([*command(how), str(task)], stdout=stream, stderr=subprocess.STDOUT, check=False)
    said = task.with_suffix(".error")
    reason = said.read_text(encoding="utf-8") if said.is_file() else f"exit code {ran.returncode}"
    said.unlink(missing_ok=True)
    if not store.finished(stage):
        raise LaunchError(f"{how.processes} processes: {reason}; see {log.relative_to(store.root)}")
    task.unlink()


def command(how: How) -> list[str]:
    """The launcher for as many processes on this machine: torch's, or accelerate's with a config of the user's."""
    count, config = str(how.processes), how.launch_config
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", count]
    if config is not None:
        launcher = ["accelerate.commands.launch", "--config_file", str(config), "--num_processes", count]
    return [sys.executable, "-m", *launcher, "-m", _WORKER]


def main(task: Path) -> None:
    """What each of the processes runs."""
    from poisonsieve.environment import is_first_process

    content = json.loads(task.read_text(encoding="utf-8"))
    stage, how = Stage.from_dict(content["stage"]), How(**content["how"])
    try:
        do(stage, Store(Path(content["store"])), how.model_copy(update={"progress": False}))
    except PoisonsieveError as error:
        if is_first_process():
            task.with_suffix(".error").write_text(str(error), encoding="utf-8")
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
