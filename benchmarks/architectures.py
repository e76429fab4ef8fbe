"""Every text-classification architecture of the installed transformers, tiny and random: is it right, or refused?

For each it makes a checkpoint of some ten thousand weights with a tokenizer, opens it as a user would, and asks:

- Is the answer to a text the same alone and in a batch? The texts are others than those the layout was found with.
- Which tunings can it do, and is that still so with each?
- What is said of those that cannot be used?

    python benchmarks/architectures.py                      # all, some ten minutes on one core; prints a table
    python benchmarks/architectures.py bert xlnet           # these
    python benchmarks/architectures.py --out docs/results/architectures.md
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

WORDS = """the a film movie plot story actor scene very quite good bad great awful fine poor loved hated i it was is and
with of this watched not really warm dull bright slow fun sad sharp flat camera battery screen price and but or no""".split()
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
# By the names under which configs keep sizes; nested configs are gone through too.
SMALL = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "emb_dim", "dim", "embedding_size", "word_embed_proj_dim"), 32
    ),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "d_inner"), 64),
    **dict.fromkeys(("dff", "hidden_dim", "n_inner", "ffn_hidden_size", "feed_forward_size"), 64),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 1),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("d_kv", "head_dim"), 16),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 128),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    "moe_intermediate_size": 32,
    "entity_vocab_size": 8,
}
# What the sizes above contradict.
SPECIAL_SETTINGS: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2},
    "reformer": {
        "axial_pos_embds": False,
        "attention_head_size": 16,
        "attn_layers": ["local", "local"],
        "is_decoder": False,
    },
    "perceiver": {"num_latents": 4, "d_latents": 32, "num_blocks": 1, "num_self_attends_per_block": 1},
    "layoutlm": {"max_2d_position_embeddings": 64},
    "cohere_compass_text": {
        "layer_types": ["full_attention", "sliding_attention"],
        "sliding_window": 64,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 1e4} for kind in ("full_attention", "sliding_attention")
        },
    },
    "zamba": {"layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"], "num_hidden_layers": 4},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "num_hidden_layers": 2},
    "gptj": {"rotary_dim": 8},
    "t5": {"decoder_start_token_id": 1},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"], "num_experts_per_tok": 2},
    "qwen3_5": {"text_config": {"layer_types": ["linear_attention", "full_attention"]}},
    "qwen3_moe": {"num_experts_per_tok": 2},
    "layoutlmv3": {"coordinate_size": 4, "shape_size": 8, "input_size": 32},
    "lilt": {"hidden_size": 48, "channel_shrink_ratio": 2},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
}
_LATENT = {
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "qk_head_dim", "v_head_dim"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "head_dim"), 8),
    **{"n_group": 1, "topk_group": 1, "num_experts_per_tok": 2},
}
SPECIAL_SETTINGS |= dict.fromkeys(("axk1", "axk2", "deepseek_v2", "deepseek_v3"), _LATENT)
SPECIAL_SETTINGS["mistral4"] = _LATENT | {
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e4,
        "llama_4_scaling_beta": 0.1,
        "original_max_position_embeddings": 128,
    }
}


@dataclass
class Found:
    """What was found out of one architecture."""

    name: str
    kind: str = ""
    company: str = ""
    tunings: list[str] = field(default_factory=list)
    worst: float = 0.0
    refused: str = ""
    seconds: float = 0.0

    def row(self) -> str:
        """A row of the table."""
        if self.refused:
            return f"| {self.name} | | | | | {self.refused} |"
        tunings = ", ".join(self.tunings)
        return f"| {self.name} | {self.kind} | {self.company} | {tunings} | {self.worst:.0e} | |"


def make_tokenizer(folder: Path) -> Any:
    """A word-level tokenizer that frames a text in <s> and </s>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(dict.fromkeys([*SPECIAL, *WORDS]))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", model_max_length=120, **names)
    tokenizer.save_pretrained(folder)
    return tokenizer


def tiny_config(name: str, vocabulary: int) -> Any:
    """The architecture's config with every size in it made small."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = CONFIG_MAPPING[name]
    tokens = {"vocab_size": vocabulary, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    usual = kind().to_dict()
    settings = _smaller(usual, tokens) | tokens | {"num_labels": 2}
    if "decoder_start_token_id" in usual:
        settings["decoder_start_token_id"] = 2
    for key, value in SPECIAL_SETTINGS.get(name, {}).items():
        settings[key] = settings[key] | value if isinstance(settings.get(key), dict) else value
    return kind(**settings)


def _smaller(content: dict[str, Any], tokens: dict[str, int]) -> dict[str, Any]:
    found: dict[str, Any] = {key: value for key, value in SMALL.items() if key in content}
    for key, value in content.items():
        if isinstance(value, dict) and "model_type" in value:
            found[key] = {"model_type": value["model_type"], **_smaller(value, tokens), **tokens}
    return found


def make_checkpoint(name: str, folder: Path) -> None:
    """A random classifier whose head is steep, so that answers differ from text to text."""
    import torch
    from transformers import AutoModelForSequenceClassification

    config = tiny_config(name, len(make_tokenizer(folder)))
    torch.manual_seed(0)
    network = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for path, weights in network.named_parameters():
            if weights.dim() > 1:
                weights.mul_(2.0 if path.startswith(f"{network.base_model_prefix}.") else 6.0)
    network.save_pretrained(folder)


def texts(seed: int = 0) -> list[str]:
    """Texts of one word to sixty."""
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, size)) for size in (1, 2, 3, 5, 5, 8, 13, 21, 34, 60)]


def difference(classifier: Any) -> float:
    """The largest difference of a logit alone and in a batch, as a share of what tells texts apart."""
    together = classifier.score(texts())
    alone = [classifier.score([text]) for text in texts()]
    readable = np.isfinite(together.values).all(axis=1)
    if readable.sum() < 5 or [one.errors[0] for one in alone] != together.errors:
        raise AssertionError(f"other texts are read alone than in a batch: {together.errors}")
    values = np.vstack([one.values for one in alone])[readable]
    spread = float(np.ptp(values, axis=0).max())
    return float(np.abs(values - together.values[readable]).max()) / max(spread, 1e-12)


def examine(name: str) -> Found:
    """Make one architecture, open it, and try every tuning on it.

    Raises:
        Exception: whatever is no `PoisonsieveError` is a defect, and is not caught.
    """
    from poisonsieve import Guard, registry
    from poisonsieve.config import TuneSpec
    from poisonsieve.defenses.msp import MSP
    from poisonsieve.errors import PoisonsieveError, UnsupportedError
    from poisonsieve.models import load_classifier
    from poisonsieve.tuning.methods import attach

    found = Found(name)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(place)
        try:
            make_checkpoint(name, folder)
        except Exception as error:
            found.refused = f"not made here: {(str(error).strip() or type(error).__name__).splitlines()[0][:120]}"
            return found
        try:
            classifier = load_classifier(folder)
        except PoisonsieveError as error:
            found.refused = str(error).replace(place, name).replace("|", "/")
            return found
        layout = classifier.layout
        both = classifier.base.config.is_encoder_decoder
        found.kind = "encoder-decoder" if both else "decoder" if layout.causal else "encoder"
        found.company = {"any": "any length", "one length": "one length", "none": "one text"}[layout.company]
        found.worst = difference(classifier)
        try:
            Guard(MSP(folder), frr=0.2).fit([text for seed in range(12) for text in texts(seed)])
        except PoisonsieveError as error:
            found.refused = str(error).replace(place, name).replace("|", "/")
            return found
        for method in registry.names("tuning"):
            trial = copy.deepcopy(classifier)
            try:
                attach(trial, TuneSpec(method=method, epochs=1, learning_rate=1e-3))
            except UnsupportedError:
                continue
            found.tunings.append(method)
            found.worst = max(found.worst, difference(trial))
    found.seconds = time.perf_counter() - started
    return found


def names() -> list[str]:
    """All architectures with a head for text classification in the installed transformers."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    return list(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)


def table(found: list[Found]) -> str:
    """The whole page, as Markdown."""
    import peft
    import torch
    import transformers

    usable = [one for one in found if not one.refused]
    versions = f"transformers {transformers.__version__}, peft {peft.__version__}, torch {torch.__version__}"
    head = "| architecture | reads as | texts in one pass | tunings | alone against batch | refused, because |"
    return "\n".join(
        [
            "# Architectures",
            "",
            f"Every architecture with a head for text classification, tiny and random ({versions}): {len(usable)} of "
            f"{len(found)} can be used. `python benchmarks/architectures.py --out docs/results/architectures.md` makes "
            "this page.",
            "",
            "- **reads as**: a decoder's tokens see only those before them. Found by trying, not by name.",
            "- **texts in one pass**: of any length, with padding; of one length, where padding would move the answer; or "
            "one text.",
            "- **alone against batch**: the largest difference of a logit between a text alone and in a batch, over the "
            "plain network and all tunings, as a share of the spread over ten texts.",
            "",
            head,
            "|---|---|---|---|---|---|",
            *(one.row() for one in found),
            "",
        ]
    )


def main() -> None:
    """Run from the command line."""
    from tqdm import tqdm

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="architectures; all without")
    parser.add_argument("--out", type=Path, help="file for the table")
    chosen = parser.parse_args()
    found = [examine(name) for name in tqdm(chosen.names or names(), unit="architecture", file=sys.stderr)]
    page = table(found)
    print(page)
    if chosen.out is not None:
        chosen.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
