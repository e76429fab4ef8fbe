"""Checkpoints that are hostile, damaged, or not what was asked for."""

import json
import os
import pickle
import shutil
import time

import pytest

pytest_plugins = ["commands"]


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def copied(tiny, tmp_path):
    """`copied(name)` -> a copy of the tiny encoder to be spoilt."""
    return lambda name="model": shutil.copytree(tiny("encoder"), tmp_path / name)


@pytest.fixture
def pickled(copied):
    """`pickled(value)` -> a checkpoint whose only weights are a torch pickle of `value` (None: its own weights)."""
    import torch
    from safetensors.torch import load_file

    def make(value=None):
        folder = copied("pickled")
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(weights if value is None else value, folder / "pytorch_model.bin")
        return folder

    return make


def tune_of(model, data, out, *more):
    return ["tune", "--model", model, "--data", data, "--out", out, "--epochs", 1, "--quiet", *more]


def test_a_pickle_needs_the_flag(refused, cli, pickled, train_file, tmp_path):
    model, out = pickled(), tmp_path / "out"
    refused(*tune_of(model, train_file, out), says=("pytorch_model.bin", "pickle", "--allow-pickle"))
    assert not out.exists()
    assert cli(*tune_of(model, train_file, out, "--allow-pickle"))[0] == 0
    assert (out / "adapter_model.safetensors").is_file()


def test_a_malicious_pickle_never_runs(refused, pickled, copied, train_file, tmp_path):
    mark, out = tmp_path / "ran", tmp_path / "out"
    model = pickled({"weight": Payload(mark)})
    refused(*tune_of(model, train_file, out), says="--allow-pickle")
    refused(*tune_of(model, train_file, out, "--allow-pickle"), says=("system", "not opened"))
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(mark)))
    refused(*tune_of(model, train_file, out, "--allow-pickle"), says=("system", "not opened"))
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04 no pickle")
    refused(*tune_of(model, train_file, out, "--allow-pickle"))
    shutil.copy(copied("other") / "model.safetensors", model / "decoy.safetensors")
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(mark)))
    refused(*tune_of(model, train_file, out), says="--allow-pickle")
    refused(*tune_of(model, train_file, out, "--allow-pickle"), says="not opened")
    assert not mark.exists()
    assert not out.exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_that_ships_with_a_model_is_refused(name, refused, copied, train_file, tmp_path):
    model = copied()
    config = json.loads((model / name).read_text())
    config["auto_map"] = {"AutoModel": "x.Y", "AutoTokenizer": ["x.Y", None]}
    (model / name).write_text(json.dumps(config))
    (model / "x.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    refused(*tune_of(model, train_file, tmp_path / "out"), says="auto_map")
    assert not (tmp_path / "ran").exists()


def spoil(folder, name, text):
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: os.truncate(folder / "model.safetensors", 5000), "damaged"),
        (lambda folder: os.truncate(folder / "model.safetensors", 0), "damaged"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: spoil(folder, "config.json", "{"), "config.json cannot be read as JSON"),
        (lambda folder: spoil(folder, "config.json", "[]"), "JSON object"),
        (lambda folder: spoil(folder, "config.json", '{"model_type": "none-such"}'), "none-such"),
        (lambda folder: spoil(folder, "config.json", '{"model_type": "bert", "id2label": {"x": "y"}}'), "id2label"),
        (lambda folder: spoil(folder, "config.json", '{"model_type": "bert", "id2label": ["a", "b"]}'), "id2label"),
        (lambda folder: spoil(folder, "tokenizer.json", "{"), "tokenizer"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
    ],
)
def test_a_damaged_checkpoint(harm, says, refused, copied, train_file, tmp_path):
    model = copied()
    harm(model)
    refused(*tune_of(model, train_file, tmp_path / "out"), says=says)
    assert not (tmp_path / "out").exists()


def test_models_that_are_not_there(refused, train_file, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "bare").mkdir()
    refused(*tune_of(tmp_path / "bare", train_file, out), says="config.json is missing")
    refused(*tune_of(train_file, train_file, out), says="not a folder")
    refused(*tune_of(tmp_path / "none", train_file, out), says="does not exist")
    refused(*tune_of("", train_file, out), says="the model's name is empty")
    refused(*tune_of("a b/c", train_file, out), says=("neither a folder, a hub id", "minilm"))
    started = time.perf_counter()
    refused(*tune_of("some-owner/some-model", train_file, out), says=("some-owner/some-model", "network"))
    refused(*tune_of("hub:some-owner/some-model", train_file, out), says="network")
    assert time.perf_counter() - started < 20


def test_a_guard_in_place_of_a_model(refused, guard_folder, train_file, test_file, tmp_path):
    refused(*tune_of(guard_folder, train_file, tmp_path / "out"), says="is a guard")
    refused("fit", "--model", guard_folder, "--data", train_file, "--out", tmp_path / "out", says="is a guard")
    refused("screen", guard_folder, test_file, "--victim", guard_folder, "--quiet", says="not a victim")


def test_a_model_in_place_of_a_guard(refused, tiny, test_file, tmp_path):
    refused("screen", tiny("encoder"), test_file, says=("guard.json is missing", "poisonsieve fit"))
    refused("screen", tmp_path / "none", test_file, says="does not exist")
    refused("screen", test_file, test_file, says="no guard folder")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("guard.json", "{", "cannot be read as JSON"),
        ("guard.json", "{}", "format version"),
        ("guard.json", '{"format_version": 99}', "update poisonsieve"),
        ("guard.json", '{"format_version": 1, "defense": "none-such"}', "none-such"),
        ("guard.json", '{"format_version": 1, "defense": "psim"}', "damaged"),
        ("calibration.json", "{}", "damaged"),
        ("calibration.json", '{"scores": ["x"]}', "damaged"),
        ("calibration.json", None, "calibration.json"),
        ("adapter_config.json", "{}", ""),
        ("adapter_model.safetensors", "", ""),
        ("adapter_model.safetensors", None, "weights"),
        ("tokenizer.json", None, ""),
        ("poisonsieve.json", "{}", ""),
        ("poisonsieve.json", '{"max_length": "x"}', ""),
    ],
)
def test_a_damaged_guard(name, text, says, cli, guard_folder, test_file, tmp_path):
    guard = shutil.copytree(guard_folder, tmp_path / "guard")
    if text is None:
        (guard / name).unlink()
    else:
        (guard / name).write_text(text)
    code, out, err = cli("screen", guard, test_file, "--quiet")
    if name in ("tokenizer.json", "poisonsieve.json") and code == 0:
        return  # the base's own files serve
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err


def test_a_gamma_that_was_tampered_with(refused, guard_folder, test_file, tmp_path):
    guard = shutil.copytree(guard_folder, tmp_path / "guard")
    state = json.loads((guard / "guard.json").read_text())
    for gamma in (None, "0.7", float("nan"), True):
        (guard / "guard.json").write_text(json.dumps({**state, "gamma": gamma}))
        refused("screen", guard, test_file, says=("damaged", "gamma"))


def test_the_base_model_is_gone_or_another(refused, cli, guard_folder, tiny, train_file, test_file, tmp_path):
    from conftest import make_encoder

    base = shutil.copytree(tiny("encoder"), tmp_path / "base")
    guard = tmp_path / "guard"
    assert cli("fit", "--model", base, "--data", train_file, "--frr", 0.1, "--out", guard, "--quiet")[0] == 0
    base.rename(tmp_path / "moved")
    refused("screen", guard, test_file, "--quiet", says="--base")
    assert cli("screen", guard, test_file, "--base", tmp_path / "moved", "--quiet")[0] == 0
    other = make_encoder(tmp_path / "other", seed=5)
    refused("screen", guard, test_file, "--base", other, says=("not the base", "sha256"))


def test_a_guard_on_a_model_without_a_trained_head(refused, tiny, train_file, tmp_path):
    refused(
        *("fit", "--model", tiny("encoder", head=False), "--data", train_file, "--out", tmp_path / "g"),
        says=("no trained classification head", "poisonsieve tune"),
    )


def test_a_head_with_other_classes(refused, guard_folder, tiny, train_file, test_file, tmp_path):
    refused(
        *("fit", "--model", tiny("encoder", labels=3), "--data", train_file, "--out", tmp_path / "g"),
        says=("LABEL_2", "['0', '1']"),
    )
    refused("screen", guard_folder, test_file, "--victim", tiny("encoder", labels=3), says="classes")
    refused("screen", guard_folder, test_file, "--victim", tiny("decoder"), says="tokenizer")


@pytest.mark.parametrize("command", ["tune", "fit"])
def test_a_tuning_that_the_model_cannot_do(command, refused, mpnet, train_file, tmp_path):
    err = refused(
        *(command, "--model", mpnet, "--data", train_file, "--method", "p_tuning_v2", "--out", tmp_path / "out"),
        *(["--frr", "0.1", "--quiet"] if command == "fit" else ["--quiet"]),
        says=("mpnet", "cannot do p_tuning_v2", "lora", "full", "p_tuning_v1"),
    )
    assert err.count("p_tuning_v2") == 1
    assert not (tmp_path / "out").exists()
