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
    with pytest.raises(HubError, match="the hub did not provide it"):
        resolve("some-owner/some-model")


def test_why_the_hub_does_not_provide_a_model_is_said_in_words(monkeypatch):
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    answer = httpx.Response(401, request=httpx.Request("GET", "https://hub"))
    for error, says in {
        LocalEntryNotFoundError("..."): "cannot be reached",
        RepositoryNotFoundError("...", response=answer): "has no such model",
        GatedRepoError("...", response=answer): "must grant you access",
        RuntimeError("the disk is full.\nmore"): "the hub did not provide it: the disk is full; check",
    }.items():

        def failing(*_, error=error, **__):
            raise error

        monkeypatch.setattr(huggingface_hub, "snapshot_download", failing)
        with pytest.raises(HubError, match=says) as told:
            resolve("some-owner/some-model")
        assert type(error).__name__ not in str(told.value)


def test_a_path_that_does_not_exist_is_not_taken_for_a_hub_id():
    with pytest.raises(CheckpointError, match="does not exist"):
        resolve("./no/such/folder")


def test_a_name_that_is_neither():
    with pytest.raises(CheckpointError, match="neither a folder, a hub id, nor one of"):
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


@pytest.fixture
def pickled(checkpoint):
    to_pickle(checkpoint)
    return checkpoint


@pytest.mark.parametrize("name", ["training_args.bin", "rng_state.pth", "optimizer.pt", "scheduler.pt", "old.ckpt"])
def test_a_pickle_that_is_never_opened_does_not_matter(name, pickled):
    """The Trainer leaves such files beside a model; they call what they like, and nobody calls them."""
    digest = weights_digest(pickled)
    expected = load_classifier(pickled, allow_pickle=True).score(["a good film"]).values
    (pickled / name).write_bytes(pickle.dumps(Payload("never")))
    assert weights_digest(pickled) == digest
    assert load_classifier(pickled, allow_pickle=True).score(["a good film"]).values == pytest.approx(expected)


def test_only_pickles_under_names_that_are_never_opened(pickled):
    (pickled / "pytorch_model.bin").rename(pickled / "weights.bin")
    with pytest.raises(CheckpointError, match=r"holds no weights .*model\.safetensors"):
        load_classifier(pickled, allow_pickle=True)


def in_parts(folder):
    """The pickled model in two files, with their index."""
    import torch

    weights = list(torch.load(folder / "pytorch_model.bin").items())
    (folder / "pytorch_model.bin").unlink()
    parts = {"pytorch_model-00001-of-00002.bin": weights[:5], "pytorch_model-00002-of-00002.bin": weights[5:]}
    for name, part in parts.items():
        torch.save(dict(part), folder / name)
    return {key: name for name, part in parts.items() for key, _ in part}


def write_index(folder, weight_map):
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_a_pickled_model_in_several_files(pickled):
    expected = load_classifier(pickled, allow_pickle=True).score(["a good film"]).values
    write_index(pickled, in_parts(pickled))
    assert load_classifier(pickled, allow_pickle=True).score(["a good film"]).values == pytest.approx(expected)
    digest = weights_digest(pickled)
    part = pickled / "pytorch_model-00002-of-00002.bin"
    part.write_bytes(part.read_bytes() + b" ")
    assert weights_digest(pickled) != digest
    part.write_bytes(pickle.dumps(Payload("never")))
    with pytest.raises(UnsafeWeightsError, match="system"):
        load_classifier(pickled, allow_pickle=True)
    part.unlink()
    with pytest.raises(CheckpointError, match="lacks pytorch_model-00002"):
        load_classifier(pickled, allow_pickle=True)


@pytest.mark.parametrize(
    "name", ["../elsewhere/w.bin", "sub/w.bin", "/tmp/w.bin", "..", "w.pt", "w.safetensors", "", "./w.bin"]
)
def test_an_index_of_pickles_that_names_files_outside_the_folder(name, pickled, tmp_path):
    """They would be opened unscanned, and be no part of the digest."""
    weights = in_parts(pickled)
    for place in (tmp_path / "elsewhere", pickled / "sub"):
        place.mkdir()
        shutil.copy(pickled / "pytorch_model-00001-of-00002.bin", place / "w.bin")
    write_index(pickled, dict.fromkeys(weights, name))
    with pytest.raises(UnsafeWeightsError, match="index") as refused:
        load_classifier(pickled, allow_pickle=True)
    assert "\n" not in str(refused.value)


def test_an_index_that_says_two_things_of_one_weight(pickled):
    name = next(iter(in_parts(pickled)))
    text = f'{{"weight_map": {{"{name}": "pytorch_model-00001-of-00002.bin", "{name}": "../w.bin"}}}}'
    (pickled / "pytorch_model.bin.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="a key stands twice"):
        load_classifier(pickled, allow_pickle=True)


def test_an_error_of_a_library_is_one_line_without_terminal_codes():
    from poisonsieve.models.opening import first_line

    said = "\x1b[31mError(s) in loading\x1b[0m state_dict for X:\n\tsize mismatch for a.b:\r\n  torch.Size([2])\nmore"
    assert (
        first_line(ValueError(said)) == "Error(s) in loading state_dict for X: size mismatch for a.b: torch.Size([2])"
    )
    assert first_line(KeyError()) == "KeyError"
    assert "\x9b" not in first_line(ValueError("a\x9b31m b\u202e"))


def set_config(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    "values",
    [
        {"transformers_weights": "evil.safetensors"},
        {"configuration_files": ["config.5.0.0.json"]},
        {"attn_implementation": "owner/kernel"},
    ],
)
def test_settings_that_open_other_files_or_code_are_refused(checkpoint, values):
    set_config(checkpoint / "config.json", **values)
    with pytest.raises(UnsafeWeightsError, match=next(iter(values))):
        load_classifier(checkpoint)


@pytest.fixture
def adapter(checkpoint, toy_train, tmp_path):
    """`adapter(method)` -> folder of a tuned adapter on `checkpoint`."""
    from poisonsieve.config import TuneSpec
    from poisonsieve.models import save_classifier
    from poisonsieve.tuning import finetune

    def make(method="lora"):
        classifier = load_classifier(checkpoint)
        finetune(classifier, toy_train.select(range(32)), TuneSpec(method=method, epochs=1, learning_rate=1e-2))
        folder = tmp_path / method
        folder.mkdir()
        save_classifier(classifier, folder)
        return folder

    return make


@pytest.mark.parametrize(
    "values",
    [{"prompt_tuning_init": "TEXT"}, {"tokenizer_name_or_path": "./sub"}, {"auto_mapping": {"parent_library": "os"}}],
)
def test_an_adapter_that_would_have_something_else_loaded(adapter, values):
    folder = adapter("prompt_tuning")
    set_config(folder / "adapter_config.json", **values)
    for trainable in (False, True):
        with pytest.raises(UnsafeWeightsError):
            load_classifier(folder, trainable=trainable)


def test_an_adapter_of_a_kind_that_is_not_known(adapter):
    folder = adapter()
    set_config(folder / "adapter_config.json", peft_type="XLORA")
    with pytest.raises(CheckpointError, match="XLORA"):
        load_classifier(folder)


def test_an_index_does_not_hide_an_adapters_pickle(adapter):
    folder = adapter()
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model-00001-of-00001.safetensors")
    index = {"weight_map": {"x": "adapter_model-00001-of-00001.safetensors"}}
    (folder / "adapter_model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(UnsafeWeightsError, match="--allow-pickle"):
        load_classifier(folder)


@pytest.mark.parametrize("part", ["lora_A", "classifier"])
def test_an_adapter_that_lacks_weights(adapter, part):
    from safetensors.torch import load_file, save_file

    path = adapter() / "adapter_model.safetensors"
    save_file({name: value for name, value in load_file(path).items() if part not in name}, path)
    with pytest.raises(CheckpointError, match=r"lacks trained weights|cannot be opened"):
        load_classifier(path.parent)


def test_an_adapter_without_the_head_that_its_base_lacks(tiny, tmp_path):
    """A feature-extraction adapter on a base model: there is no trained head anywhere."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    base = tiny("encoder", head=False)
    get_peft_model(AutoModel.from_pretrained(base), LoraConfig(target_modules=["query"])).save_pretrained(tmp_path)
    set_config(tmp_path / "adapter_config.json", base_model_name_or_path=str(base), task_type="SEQ_CLS")
    with pytest.raises(CheckpointError):
        load_classifier(tmp_path, label_names=["a", "b"])


def test_an_adapters_own_tokenizer_is_used(adapter, checkpoint):
    folder = adapter()
    before = load_classifier(folder).encode(["good film " * 400]).ids
    set_config(checkpoint / "tokenizer_config.json", truncation_side="left", model_max_length=9)
    assert load_classifier(folder).encode(["good film " * 400]).ids == before


def test_what_decides_a_result_is_in_its_identity(checkpoint, tmp_path):
    before = load_classifier(checkpoint).provenance.identity
    assert load_classifier(checkpoint).provenance.identity == before
    set_config(checkpoint / "tokenizer_config.json", truncation_side="left")
    after = load_classifier(checkpoint).provenance.identity
    set_config(checkpoint / "config.json", hidden_act="relu")
    assert len({before, after, load_classifier(checkpoint).provenance.identity}) == 3
