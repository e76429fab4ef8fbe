"""Causal language models: likelihoods of rows that share beginnings are those of the rows alone."""

import numpy as np
import pytest
import torch

from conftest import make_encoder, sentences
from poisonsieve.errors import CheckpointError, ConfigError, UnsupportedError
from poisonsieve.models.lm import load_causal_lm
from poisonsieve.models.lm.tree import pack
from tiny_lm import KINDS, make_lm

TEXTS = [text for text, _ in sentences(12, seed=8)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: make_lm(tmp_path_factory.mktemp(kind), kind=kind) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def folder(request, folders):
    return folders[request.param]


@pytest.fixture(scope="module")
def lm(folder):
    return load_causal_lm(folder)


def groups_of(lm):
    """Each text with its ends cut off and its words taken out."""
    groups = []
    for text in TEXTS:
        words = text.split()
        taken_out = [" ".join(words[:index] + words[index + 1 :]) for index in range(len(words))]
        groups.append(lm.encode([text, *taken_out, " ".join(words[:2])]))
    return groups


def alone(folder, rows):
    """The loss of each row by itself, from transformers' own forward pass."""
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return [network(input_ids=torch.tensor([row]), labels=torch.tensor([row])).loss.item() for row in rows]


@pytest.mark.parametrize("batch_tokens", [1, 20, 1024])
def test_rows_together_are_as_alone(folder, lm, batch_tokens):
    groups = groups_of(lm)
    for group, found in zip(groups, lm.mean_nll(groups, batch_tokens=batch_tokens), strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, alone(folder, group), rtol=1e-5)


def test_company_and_order_do_not_matter(lm):
    groups = groups_of(lm)
    expected = np.concatenate(lm.mean_nll(groups))
    np.testing.assert_allclose(np.concatenate(lm.mean_nll(groups[::-1])[::-1]), expected, rtol=1e-6)
    np.testing.assert_allclose(np.concatenate([lm.mean_nll([group])[0] for group in groups]), expected, rtol=1e-6)
    turned = [group[::-1] for group in groups]
    np.testing.assert_allclose(np.concatenate([row[::-1] for row in lm.mean_nll(turned)]), expected, rtol=1e-6)


def test_beginnings_are_stored_once():
    rows = [[1, 2, 3, 4, 5], [1, 2, 3, 9, 5], [1, 2, 3], [1, 2, 3, 4, 5]]
    (tree,) = pack([rows], 100)
    assert len(tree) == 5  # 1 2 3 with 4 and 9 after them; a last token is not read
    assert sorted(zip(tree.positions, tree.tokens, strict=True)) == [(0, 1), (1, 2), (2, 3), (3, 4), (3, 9)]


def test_trees_keep_the_budget_and_lose_no_row():
    rows = [[1, *range(start, start + 8)] for start in range(2, 30)]
    trees = list(pack([rows, rows[:3], [[7]], []], 20))
    assert all(len(tree) <= 20 for tree in trees)
    names = [name for tree in trees for name in tree.names]
    assert sorted(names) == [(0, index) for index in range(28)] + [(1, index) for index in range(3)]
    assert [len(tree) for tree in pack([[list(range(50))]], 20)] == [49]


def test_a_row_without_anything_to_predict_has_no_likelihood(lm):
    (found,) = lm.mean_nll([[[], [3], [3, 4]]])
    assert np.isnan(found).tolist() == [True, True, False]
    assert lm.mean_nll([]) == []
    assert lm.mean_nll([[]])[0].shape == (0,)


def test_rows_begin_with_the_begin_token(lm):
    assert len(lm.bos) == 1
    assert all(row[0] == lm.bos[0] and len(row) > 1 for row in lm.encode(TEXTS))
    assert lm.encode([]) == []


def test_the_digest_is_of_the_weights(folders, tmp_path):
    digest = load_causal_lm(folders["llama"]).digest
    assert load_causal_lm(make_lm(tmp_path / "same")).digest == digest
    assert load_causal_lm(make_lm(tmp_path / "other", seed=1)).digest != digest


def test_grouped_heads_and_an_output_bias(tmp_path):
    from transformers import PhiConfig, PhiForCausalLM

    make_lm(tmp_path)
    config = PhiConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=48,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = PhiForCausalLM(config)
        torch.nn.init.normal_(network.lm_head.bias)
    network.save_pretrained(tmp_path)
    lm = load_causal_lm(tmp_path)
    groups = groups_of(lm)
    np.testing.assert_allclose(lm.mean_nll(groups)[3], alone(tmp_path, groups[3]), rtol=1e-5)


def test_a_sliding_window_is_not_ignored(tmp_path):
    from transformers import MistralConfig, MistralForCausalLM

    make_lm(tmp_path)
    config = MistralConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=48,
        sliding_window=12,
    )
    MistralForCausalLM(config).save_pretrained(tmp_path)
    lm = load_causal_lm(tmp_path)
    row = list(range(3, 15))
    np.testing.assert_allclose(lm.mean_nll([[row]])[0], alone(tmp_path, [row]), rtol=1e-5)
    with pytest.raises(UnsupportedError, match="lower max_length to 12"):
        lm.mean_nll([[list(range(3, 20))]])


class TestWhatIsRefused:
    def test_a_model_that_sees_what_comes_after(self, tmp_path):
        from transformers import BertConfig, BertLMHeadModel

        make_encoder(tmp_path)
        BertLMHeadModel(BertConfig.from_pretrained(tmp_path)).save_pretrained(tmp_path)
        with pytest.raises(UnsupportedError, match="GPT-2 or LLaMA"):
            load_causal_lm(tmp_path)

    def test_an_attention_of_its_own(self, tmp_path):
        from transformers import BloomConfig, BloomForCausalLM

        make_lm(tmp_path)
        BloomForCausalLM(BloomConfig(vocab_size=60, hidden_size=32, n_layer=2, n_head=4)).save_pretrained(tmp_path)
        with pytest.raises(UnsupportedError, match=r"bloom.*cannot be replaced"):
            load_causal_lm(tmp_path)

    @pytest.mark.parametrize("kind", ["encoder", "decoder"])
    def test_a_classifier(self, tiny, kind):
        with pytest.raises((CheckpointError, UnsupportedError), match=r"causal language model|GPT-2"):
            load_causal_lm(tiny(kind))

    def test_damaged_weights(self, tmp_path):
        make_lm(tmp_path)
        (tmp_path / "model.safetensors").write_bytes(b"not weights")
        with pytest.raises(CheckpointError, match="cannot be opened"):
            load_causal_lm(tmp_path)

    def test_weights_that_are_no_numbers(self, tmp_path):
        from transformers import LlamaForCausalLM

        network = LlamaForCausalLM.from_pretrained(make_lm(tmp_path))
        network.get_input_embeddings().weight.data.fill_(float("nan"))
        network.save_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match="not finite numbers"):
            load_causal_lm(tmp_path).mean_nll([[[1, 2, 3]]])

    def test_a_budget_of_nothing(self, lm):
        with pytest.raises(ConfigError, match="batch_tokens"):
            lm.mean_nll([], batch_tokens=0)
