"""Sequence-to-sequence models: opened safely, written the same alone and in company."""

import importlib.util
import json

import pytest

from conftest import sentences
from poisonsieve.errors import CheckpointError, ConfigError, HubError, UnsafeWeightsError, UnsupportedError
from poisonsieve.rewriting.seq2seq import Seq2Seq
from seq2seq_models import make_seq2seq

TEXTS = [text for text, _ in sentences(8, seed=3)]


@pytest.fixture(scope="module", params=["t5", "bart", "marian"])
def folder(request, tmp_path_factory):
    return make_seq2seq(tmp_path_factory.mktemp("seq2seq") / request.param, kind=request.param)


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return make_seq2seq(tmp_path_factory.mktemp("seq2seq") / "t5")


@pytest.mark.parametrize("beams", [1, 3])
def test_alone_as_in_company_in_any_order(folder, beams):
    engine = Seq2Seq(folder, beams=beams, max_new_tokens=6, batch_size=2)
    together = engine.generate(TEXTS).texts
    assert len(set(together)) > 3
    assert engine.generate(TEXTS[::-1]).texts[::-1] == together
    assert [engine.generate([text]).texts[0] for text in TEXTS] == together
    assert Seq2Seq(folder, beams=beams, max_new_tokens=6).generate(TEXTS).texts == together


def test_no_chance_even_if_the_checkpoint_asks_for_it(t5, tmp_path):
    import shutil

    copy = shutil.copytree(t5, tmp_path / "sampling")
    config = json.loads((copy / "generation_config.json").read_text())
    (copy / "generation_config.json").write_text(json.dumps({**config, "do_sample": True, "temperature": 9.0}))
    plain = Seq2Seq(t5, max_new_tokens=4).generate(TEXTS).texts
    assert Seq2Seq(copy, max_new_tokens=4).generate(TEXTS).texts == plain


def test_what_there_is_nothing_to_write_of_is_empty(t5):
    found = Seq2Seq(t5, max_new_tokens=5).generate(["", "  ", "half \ud83d pair", "good"])
    assert found.texts[:3] == ["", "", ""]
    assert found.texts[3]
    assert Seq2Seq(t5).generate([]).texts == []


def test_what_was_cut_is_said(t5):
    engine = Seq2Seq(t5, max_new_tokens=1)
    assert engine.generate(["good film"]).cut == [True]
    roomy = Seq2Seq(t5)
    assert roomy.generate(["mn " * 400]).cut == [True]


def test_the_prefix_is_read(t5):
    plain, other = Seq2Seq(t5, max_new_tokens=4), Seq2Seq(t5, max_new_tokens=4, prefix="bad awful ")
    assert other.generate(["good film"]).texts == plain.generate(["bad awful good film"]).texts


def test_the_identity_is_the_weights(t5, folder, tmp_path):
    import shutil

    copy = shutil.copytree(t5, tmp_path / "copy")
    assert Seq2Seq(copy).identity == Seq2Seq(t5).identity
    assert Seq2Seq(make_seq2seq(tmp_path / "other", seed=1)).identity != Seq2Seq(t5).identity


@pytest.mark.parametrize("name", ["beams", "max_new_tokens", "batch_size"])
def test_numbers_out_of_range(t5, name):
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        Seq2Seq(t5, **{name: 0})


def test_what_is_no_such_model(tiny, t5, tmp_path):
    import shutil

    with pytest.raises(CheckpointError, match="cannot be opened as a sequence-to-sequence model"):
        Seq2Seq(tiny("encoder"))
    with pytest.raises(CheckpointError, match="does not exist"):
        Seq2Seq(tmp_path / "nowhere")
    broken = shutil.copytree(t5, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes((t5 / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be opened"):
        Seq2Seq(broken)


def test_missing_weights(t5, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    part = shutil.copytree(t5, tmp_path / "part")
    weights = load_file(part / "model.safetensors")
    weights.pop(next(name for name in weights if "decoder.block.1" in name))
    save_file(weights, part / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 1 weights"):
        Seq2Seq(part)


def test_a_pickle_only_when_allowed(t5, tmp_path):
    import shutil

    import torch
    from safetensors.torch import load_file

    pickled = shutil.copytree(t5, tmp_path / "pickled")
    weights = load_file(pickled / "model.safetensors")
    torch.save(weights, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(UnsafeWeightsError, match="pickle"):
        Seq2Seq(pickled)
    opened = Seq2Seq(pickled, max_new_tokens=4, allow_pickle=True)
    assert opened.generate(TEXTS).texts == Seq2Seq(t5, max_new_tokens=4).generate(TEXTS).texts


def test_a_hub_that_is_not_there_names_another_way():
    with pytest.raises(HubError, match="without a network: some other way"):
        Seq2Seq("owner/no-such-model", offline="some other way")


def test_a_tokenizer_without_its_package(t5, tmp_path, monkeypatch):
    import shutil

    marian = shutil.copytree(t5, tmp_path / "marian")
    (marian / "source.spm").write_bytes(b"")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("sentencepiece", "sacremoses") else found(name)
    )
    with pytest.raises(
        UnsupportedError, match=r"sentencepiece and sacremoses; pip install 'poisonsieve\[translate\]'"
    ):
        Seq2Seq(marian)
