"""Tiny random causal language models: what they find likely means nothing, but they compute as real ones do."""

from pathlib import Path

from conftest import WORDS, tokenizer

KINDS = ("llama", "gpt2")


def make_lm(folder: Path, *, kind: str = "llama", seed: int = 0) -> Path:
    """A random LLaMA with a tokenizer of whole words, or a random GPT-2 whose words fall into pieces, in `folder`."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = {"llama": _llama, "gpt2": _gpt2}[kind](folder)
        for weight in network.parameters():
            weight.data.mul_(4.0)  # so that words differ in what they do
    network.save_pretrained(folder)
    return folder


def _llama(folder):
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer(folder, encoder=False)
    config = LlamaConfig(
        vocab_size=3 + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=48,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def _gpt2(folder):
    from transformers import GPT2Config, GPT2LMHeadModel

    size = _pieces(folder)
    config = GPT2Config(
        vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config)


def _pieces(folder) -> int:
    """Byte-level pieces, as GPT-2's: a word is cut otherwise at the start of a text than after a space."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token=end, eos_token=end, model_max_length=64).save_pretrained(
        folder
    )
    return made.get_vocab_size()
