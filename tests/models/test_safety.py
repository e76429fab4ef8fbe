"""Hostile and broken checkpoints."""

import json
import os
import pickle
import shutil

import pytest

from conftest import make_encoder
from poisonsieve.errors import CheckpointError, HubError, UnsafeWeightsError
from poisonsieve.models import load_classifier, resolve
from poisonsieve.models.safety import weights_digest


@pytest.fixture
def checkpoint(tmp_path):
    return make_encoder(tmp_path / "model")


def to_pickle(folder, payload=None):
    """Replace the safetensors file of `folder` by a pickled one."""
    import torch
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if payload is None:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(payload)


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_pickled_weights_are_refused_and_the_flag_is_named(checkpoint):
    to_pickle(checkpoint)
    with pytest.raises(UnsafeWeightsError, match="--allow-pickle"):
        load_classifier(checkpoint)


def test_harmless_pickled_weights_open_when_allowed(checkpoint):
    expected = load_classifier(checkpoint).score(["a good film"]).values
    to_pickle(checkpoint)
    allowed = load_classifier(checkpoint, allow_pickle=True)
    assert allowed.score(["a good film"]).values == pytest.approx(expected, abs=1e-6)


def test_a_pickle_with_a_payload_is_refused_unopened(checkpoint, tmp_path):
    marker = tmp_path / "ran"
    to_pickle(checkpoint, pickle.dumps(Payload(marker)))
    with pytest.raises(UnsafeWeightsError, match="system"):
        load_classifier(checkpoint, allow_pickle=True)
    assert not marker.exists()


def test_a_file_that_is_no_pickle_is_refused(checkpoint):
    to_pickle(checkpoint, b"\x00\x01 nothing that can be read")
    with pytest.raises((UnsafeWeightsError, CheckpointError)):
        load_classifier(checkpoint, allow_pickle=True)


def test_safetensors_beside_a_pickle_are_used_and_the_pickle_is_not(checkpoint, tmp_path):
    marker = tmp_path / "ran"
    (checkpoint / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(marker)))
    load_classifier(checkpoint)
    assert not marker.exists()


def test_python_that_ships_with_a_model_is_refused(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "evil.Model"}
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsafeWeightsError, match="auto_map"):
        load_classifier(checkpoint)


def test_python_that_ships_with_a_tokenizer_is_not_run(checkpoint):
    path = checkpoint / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["auto_map"] = {"AutoTokenizer": ["evil.Tokenizer", None]}
    path.write_text(json.dumps(config))
    (checkpoint / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UnsafeWeightsError, match="auto_map"):
        load_classifier(checkpoint)


def test_damaged_safetensors(checkpoint):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError):
        load_classifier(checkpoint)


def test_a_checkpoint_that_lacks_weights(checkpoint):
    from safetensors.torch import load_file, save_file

    path = checkpoint / "model.safetensors"
    weights = load_file(path)
    lost = next(name for name in weights if "layer.1" in name)
    del weights[lost]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 1 weights"):
        load_classifier(checkpoint)


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_is_no_checkpoint(checkpoint, lost):
    (checkpoint / lost).unlink()
    if lost == "tokenizer.json":
        (checkpoint / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError):
        load_classifier(checkpoint)


def test_a_config_that_is_no_json(checkpoint):
    (checkpoint / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_classifier(checkpoint)


def test_a_hub_id_without_a_network():
    with pytest.raises(HubError, match="the hub did not give it"):
        resolve("some-owner/some-model")


def test_a_path_that_does_not_exist_is_not_taken_for_a_hub_id():
    with pytest.raises(CheckpointError, match="does not exist"):
        resolve("./no/such/folder")


def test_a_name_that_is_neither():
    with pytest.raises(CheckpointError, match="no hub id"):
        resolve("not a model!")


def test_the_digest_is_of_the_weights(checkpoint, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    assert weights_digest(copy) == weights_digest(checkpoint)
    other = make_encoder(tmp_path / "other", seed=1)
    assert weights_digest(other) != weights_digest(checkpoint)


def test_a_head_for_other_classes_is_refused(checkpoint):
    with pytest.raises(CheckpointError, match="knows the classes"):
        load_classifier(checkpoint, label_names=["a", "b", "c"])


def test_a_new_head_is_announced(checkpoint):
    classifier = load_classifier(checkpoint, label_names=["a", "b", "c"], head="any")
    assert classifier.head_is_new
    assert classifier.score(["a good film"]).values.shape == (1, 3)
    assert not load_classifier(checkpoint, label_names=["a", "b"], head="any").head_is_new


@pytest.mark.parametrize("decoy", ["decoy.safetensors", "model-decoy.safetensors"])
def test_a_decoy_does_not_hide_a_pickle(checkpoint, decoy, tmp_path):
    """Libraries open safetensors under fixed names only; beside any other they would read the pickle, unscanned."""
    from safetensors.torch import save_file

    marker = tmp_path / "ran"
    to_pickle(checkpoint, pickle.dumps(Payload(marker)))
    import torch

    save_file({"x": torch.zeros(1)}, checkpoint / decoy)
    with pytest.raises(UnsafeWeightsError, match="--allow-pickle"):
        load_classifier(checkpoint)
    with pytest.raises(UnsafeWeightsError, match="system"):
        load_classifier(checkpoint, allow_pickle=True)
    assert not marker.exists()


def test_the_digest_sees_a_pickle_behind_a_decoy(checkpoint):
    import torch
    from safetensors.torch import save_file

    to_pickle(checkpoint)
    save_file({"x": torch.zeros(1)}, checkpoint / "model-decoy.safetensors")
    before = weights_digest(checkpoint)
    torch.save({"x": torch.ones(2)}, checkpoint / "pytorch_model.bin")
    assert weights_digest(checkpoint) != before


def test_a_model_in_several_files(checkpoint):
    from transformers import AutoModelForSequenceClassification

    expected = load_classifier(checkpoint).score(["a good film"]).values
    network = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    network.save_pretrained(checkpoint, max_shard_size="20KB")
    assert len(list(checkpoint.glob("model-*.safetensors"))) > 1
    assert load_classifier(checkpoint).score(["a good film"]).values == pytest.approx(expected, abs=1e-6)
    digest = weights_digest(checkpoint)
    next(checkpoint.glob("model-*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match="lacks model-"):
        load_classifier(checkpoint)
    assert digest


def test_an_index_that_names_a_pickle(checkpoint):
    (checkpoint / "model.safetensors").rename(checkpoint / "weights.bin")
    index = {"metadata": {}, "weight_map": {"bert.embeddings.word_embeddings.weight": "weights.bin"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UnsafeWeightsError, match=r"weights\.bin"):
        load_classifier(checkpoint, allow_pickle=True)
