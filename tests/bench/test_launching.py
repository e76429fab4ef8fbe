"""One model trained by two processes (gloo, on the processor), and training that reports to a tracker."""

import json
from types import SimpleNamespace

import pytest

from conftest import make_encoder, write_grid, write_toy_rows
from poisonsieve.bench.launch import command
from poisonsieve.bench.plan import Stage
from poisonsieve.bench.runner import run_grid
from poisonsieve.bench.spec import RunOptions, load_grid
from poisonsieve.environment import processes
from poisonsieve.errors import ConfigError, UnsupportedError
from poisonsieve.tuning.trainer import refuse_shards, share_of


@pytest.fixture
def run(tmp_path):
    write_toy_rows(tmp_path)
    model = make_encoder(tmp_path / "model", head=False)

    def call(options, **changes):
        grid = load_grid(write_grid(tmp_path, model, **changes), data_root=tmp_path)
        only = {"attack": ["BadNet"], "victim": ["full"]}
        return run_grid(grid, "grid", tmp_path / "store", only=only, options=options)

    return call


def done(record):
    return [cell for cell in record["cells"] if cell["status"] == "done"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_train_one_model(run, tmp_path):
    """The weights, the victim and the guard are trained by two; scoring is done by one."""
    cells = done(run(RunOptions(processes=2)))
    assert [cell["defense"] for cell in cells] == ["none", "psim"]
    trained = {stage["kind"]: tmp_path / "store" / stage["folder"] for stage in cells[1]["stages"]}

    by = {kind: json.loads((folder / "run.json").read_text())["environment"] for kind, folder in trained.items()}
    assert {kind: environment.get("processes") for kind, environment in by.items()} == {
        "theta_p": "2",
        "victim": "2",
        "guard": "2",
        "answers": None,
        "confidences": None,
        "shortened": None,
        "scores": None,
    }
    training = {stage["kind"]: stage["result"].get("training") for stage in cells[1]["stages"]}
    assert training["victim"]["train_rows"] == 120
    assert 0 <= cells[1]["metrics"]["auroc"] <= 1
    assert not list((tmp_path / "store").glob("stages/*/.*.partial"))
    assert not list((tmp_path / "store/launched").glob("*.json"))
    assert done(run(RunOptions())) == cells  # and one process takes over what two made


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_stops_two_processes_is_what_the_cell_says(run, tmp_path):
    record = run(RunOptions(processes=2), poison={"epochs": 1, "batch_size": 5})
    errors = {cell["error"] for cell in record["cells"] if cell["status"] == "failed"}
    assert all("a batch of 5 rows cannot be divided evenly among 2 processes" in error for error in errors)
    assert len(errors) == 1
    assert all("see launched/" in error for error in errors)


def test_a_batch_is_that_of_all_processes_together(monkeypatch):
    assert (processes(), share_of(32)) == (1, 32)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert share_of(32) == 8
    with pytest.raises(ConfigError, match="a batch of 30 rows cannot be divided evenly among 4 processes"):
        share_of(30)


@pytest.mark.parametrize("sharded", ["is_fsdp_enabled", "is_deepspeed_enabled"])
def test_weights_in_shards_are_refused_before_training(sharded):
    trainer = SimpleNamespace(is_fsdp_enabled=False, is_deepspeed_enabled=False)
    refuse_shards(trainer)
    setattr(trainer, sharded, True)
    with pytest.raises(UnsupportedError, match="launch"):
        refuse_shards(trainer)


def test_a_config_of_accelerate_is_what_launches(tmp_path):
    plain, configured = (
        command(RunOptions(processes=3)),
        command(RunOptions(processes=3, launch_config=tmp_path / "ddp.yaml")),
    )
    assert plain[-3:] == ["3", "-m", "poisonsieve.bench.launch"]
    assert "accelerate.commands.launch" in configured
    assert str(tmp_path / "ddp.yaml") in configured


def test_a_stage_survives_the_way_to_another_process():
    stage = Stage("victim", "a", {"seed": 1}, {"model": Stage("theta_p", "b", {}, {}, "k")}, "key")
    assert Stage.from_dict(stage.to_dict()) == stage


def test_a_tracker_is_told_and_decides_nothing(run, tmp_path, monkeypatch):
    import transformers

    seen = []

    class Recorder(transformers.TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            seen.append((args.run_name, sorted(logs or {})))

    monkeypatch.setattr(
        "transformers.trainer.get_reporting_integration_callbacks",
        lambda report_to: [Recorder] * (report_to == ["recorder"]),
    )
    silent = done(run(RunOptions()))
    assert not seen
    again = run(RunOptions(report_to="recorder"), victims={"full": {"method": "full", "epochs": 2}})
    assert {name for name, _ in seen} == {"victim BadNet-full"}
    assert any("loss" in keys for _, keys in seen)
    assert len(done(again)) == len(silent) == 2


def test_a_tracker_that_is_not_there_is_refused(run):
    with pytest.raises(ConfigError, match="report_to: nobody is not installed; installed are: none"):
        run(RunOptions(), report_to="nobody")
