"""A run that was killed ends, when it is called again, with the very weights of one that was not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import make_encoder, sentences

METHODS = ["full", "lora", "p_tuning_v1", "p_tuning_v2"]

# Runs each command in a fork of itself and has it hit by a signal in the middle of the second epoch. The parent
# imports but never trains: torch's threads do not survive a fork.
HIT = """
import json, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import torch, transformers, peft, datasets
import poisonsieve.stages.train
from poisonsieve.cli.main import app
torch.set_num_threads(1)

class Hit(transformers.TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.epoch > 1.4:
            os.kill(os.getpid(), signum)

transformers.trainer.DEFAULT_CALLBACKS.append(Hit)
jobs = json.loads(sys.argv[1])
codes = []
for signum, command, log in jobs:
    child = os.fork()
    if child == 0:
        stream = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(stream, 1), os.dup2(stream, 2)
        try:
            app(command)
        except SystemExit as stop:
            os._exit(stop.code or 0)
        finally:
            os._exit(99)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
"""


def command_for(method: str, folder: Path, name: str) -> list[str]:
    kind = "fit" if method == "fit" else "tune"
    return [
        *(kind, "--model", str(folder / "model"), "--data", str(folder / "train.jsonl"), "--epochs", "3"),
        *(("--frr-mean", "0.1") if method == "fit" else ("--method", method)),
        *("--lr", "1e-3", "--batch-size", "16", "--out", str(folder / name / method), "--quiet", "--json"),
    ]


@pytest.fixture(scope="module")
def hit(tmp_path_factory):
    """Every method killed with SIGKILL, and LoRA once with Ctrl-C; (folder, exit codes)."""
    folder = tmp_path_factory.mktemp("resume")
    make_encoder(folder / "model")
    lines = [json.dumps({"text": text, "label": label}) for text, label in sentences(120, seed=1)]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    jobs = [(9, command_for(method, folder, "killed"), str(folder / f"{method}.log")) for method in [*METHODS, "fit"]]
    jobs.append((2, command_for("lora", folder, "stopped"), str(folder / "stopped.log")))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-c", HIT, json.dumps(jobs)], capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def weights(folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    assert found
    return found


def finish(cli, folder, name, method):
    code, out, err = cli(*command_for(method, folder, name))
    assert code == 0, err
    return json.loads(out)


@pytest.mark.parametrize("method", [*METHODS, "fit"])
def test_killed_and_called_again_it_ends_with_the_same_weights(method, hit, cli):
    folder, codes = hit
    out = folder / "killed" / method
    partial = out.with_name(f".{method}.partial")
    assert codes[[*METHODS, "fit"].index(method)] == -9
    assert not out.exists()
    whole = [path.parent for path in partial.rglob("checkpoint-*/trainer_state.json")]
    assert whole, "the kill must land after the first checkpoint"
    if method == "lora":
        half = partial / "checkpoint-900"  # a save that was cut short
        half.mkdir()
        (half / "model.safetensors").write_bytes(b"half")
        torn = partial / "checkpoint-901"
        torn.mkdir()
        (torn / "trainer_state.json").write_text('{"epoch": 2.')
    resumed = finish(cli, folder, "killed", method)
    assert resumed["training"]["resumed_from"] == 1
    straight = finish(cli, folder, "straight", method)
    assert straight["training"]["resumed_from"] == 0
    assert weights(out) == weights(folder / "straight" / method)
    assert resumed["training"]["epochs"] == straight["training"]["epochs"]
    assert resumed["training"]["best_epoch"] == straight["training"]["best_epoch"]
    assert not partial.exists()
    assert not [path for path in out.parent.iterdir() if "writing" in path.name]


def test_ctrl_c_says_that_the_same_command_goes_on(hit, cli):
    folder, codes = hit
    assert codes[-1] == 130
    said = (folder / "stopped.log").read_text()
    assert said == "interrupted; run the same command again to resume\n"
    assert not (folder / "stopped" / "lora").exists()
    assert finish(cli, folder, "stopped", "lora")["training"]["resumed_from"] == 1
    finish(cli, folder, "straight", "lora")
    assert weights(folder / "stopped" / "lora") == weights(folder / "straight" / "lora")


def test_a_finished_run_is_not_run_again(hit, cli):
    folder, _ = hit
    first = finish(cli, folder, "twice", "lora")
    before = {path: path.stat().st_mtime_ns for path in (folder / "twice" / "lora").iterdir()}
    again = finish(cli, folder, "twice", "lora")
    assert (first["reused"], again["reused"]) == (False, True)
    assert again["training"] == first["training"]
    assert {path: path.stat().st_mtime_ns for path in (folder / "twice" / "lora").iterdir()} == before
    code, out, _ = cli(*command_for("lora", folder, "twice")[:-1])
    assert code == 0
    assert "was already there" in " ".join(out.split())


@pytest.mark.parametrize("change", [["--seed", "1"], ["--lr", "2e-3"], ["--epochs", "2"], ["--batch-size", "8"]])
def test_another_setting_needs_another_folder_or_force(change, hit, cli):
    folder, _ = hit
    finish(cli, folder, "changed", "lora")
    before = weights(folder / "changed" / "lora")
    code, out, err = cli(*command_for("lora", folder, "changed"), *change)
    assert (code, out) == (2, "")
    assert "already exists" in err
    assert "--force" in err
    assert weights(folder / "changed" / "lora") == before
    assert cli(*command_for("lora", folder, "changed"), *change, "--force")[0] == 0
    assert weights(folder / "changed" / "lora") != before
    assert cli(*command_for("lora", folder, "changed"), "--force")[0] == 0
    assert weights(folder / "changed" / "lora") == before


def test_changed_data_is_another_run(hit, cli):
    folder, _ = hit
    finish(cli, folder, "data", "lora")
    other = folder / "other.jsonl"
    other.write_text((folder / "train.jsonl").read_text() + '{"text": "a good film", "label": 1}\n')
    command = command_for("lora", folder, "data")
    command[command.index(str(folder / "train.jsonl"))] = str(other)
    assert cli(*command)[0] == 2


def test_the_newest_whole_checkpoint_counts(tmp_path):
    from poisonsieve.tuning.training import last_checkpoint

    assert last_checkpoint(tmp_path) is None
    for step, text in {5: '{"epoch": 1.0}', 10: '{"epoch": 2.0}', 15: '{"epo', 20: None}.items():
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if text is not None:
            (folder / "trainer_state.json").write_text(text)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-5"]
