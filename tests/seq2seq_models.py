"""Tiny random sequence-to-sequence models: what they write means nothing, but it is always the same."""

from pathlib import Path

from conftest import WORDS

_SPECIAL = ["<pad>", "</s>", "<unk>"]


def make_seq2seq(folder: Path, *, kind: str = "t5", seed: int = 0) -> Path:
    """A random T5, BART or Marian with a tokenizer of whole words, in `folder`."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = {"t5": _t5, "bart": _bart, "marian": _marian}[kind]()
        _sharpen(network)
        network.save_pretrained(folder)
    _tokenizer(folder)
    return folder


def _t5():
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=len(_SPECIAL) + len(WORDS),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    return T5ForConditionalGeneration(config)


def _sizes():
    return {
        "vocab_size": len(_SPECIAL) + len(WORDS),
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "forced_eos_token_id": 1,
    }


def _bart():
    from transformers import BartConfig, BartForConditionalGeneration

    return BartForConditionalGeneration(BartConfig(**_sizes(), decoder_start_token_id=1))


def _marian():
    from transformers import MarianConfig, MarianMTModel

    return MarianMTModel(MarianConfig(**_sizes(), decoder_start_token_id=0))


def _sharpen(network) -> None:
    """Larger weights, and no word twice, so that what is written depends on what is read."""
    import torch

    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2 and parameter.std() < 0.1:
                parameter.mul_(8)
    network.generation_config.no_repeat_ngram_size = 1
    network.generation_config.suppress_tokens = [0, 2]


def _tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate([*_SPECIAL, *WORDS])}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    model.normalizer = normalizers.Lowercase()
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    model.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=model, model_max_length=48, **names).save_pretrained(folder)
