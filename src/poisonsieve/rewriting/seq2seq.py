"""Sequence-to-sequence models from the hub or a folder: translators and paraphrasers.

They are opened by the same rules as classifiers: safetensors unless pickles are allowed, and no code that comes with a
model. Decoding is greedy or by beam search, hence deterministic, and only texts with the same number of tokens share a
batch. So there is no padding, and a text's rewrite does not depend on the texts next to it.

The model may need a prefix (T5's ``translate English to German: ``) or none (Marian's models for one language pair).
Models that need language codes as tokens (mBART, NLLB, M2M100) are not supported.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poisonsieve.data.files import is_encodable
from poisonsieve.errors import CheckpointError, ConfigError, HubError, UnsupportedError
from poisonsieve.models.load import pick_device
from poisonsieve.models.opening import first_line, how_to_open, open_tokenizer, opening, quiet_transformers
from poisonsieve.models.safety import identity_digest, is_adapter
from poisonsieve.models.sources import resolve
from poisonsieve.models.tokens import position_limit
from poisonsieve.progress import progress_bar

#: Decoding settings taken from the checkpoint; sampling and beam groups are not.
_TOKENS = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id", "forced_bos_token_id")
_RULES = ("bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "no_repeat_ngram_size", "repetition_penalty")
_BEAM_RULES = ("length_penalty", "early_stopping", "renormalize_logits")


@dataclass(frozen=True)
class Generated:
    """A model's rewrites of n texts.

    Attributes:
        texts: n strings; empty where the text was blank or not valid Unicode, or the model generated nothing.
        cut: length n; whether the text exceeded the model's input limit, or its rewrite exceeded the output limit.
    """

    texts: list[str]
    cut: list[bool]


class Seq2Seq:
    """A sequence-to-sequence model with its tokenizer.

    Args:
        model: folder or hub id.
        prefix: text put before every input.
        beams: width of the beam search; 1 is greedy.
        max_new_tokens: token limit of a rewrite; None for twice the tokens of the text plus 16, but no more than the
            model has positions for.
        batch_size: maximum number of texts per step.
        allow_pickle: open pickled weights after a scan.
        offline: what to do without the hub, for the error message.

    Attributes:
        identity: sha256 over weights, configs and tokenizer.

    Raises:
        ConfigError: a number is out of range.
        CheckpointError, UnsafeWeightsError: there is no such model, or it is not a sequence-to-sequence model.
        HubError: the hub cannot be reached or has no such id.
        UnsupportedError: the tokenizer needs a package that is not installed.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        prefix: str = "",
        beams: int = 4,
        max_new_tokens: int | None = None,
        batch_size: int = 32,
        allow_pickle: bool = False,
        offline: str = "",
    ) -> None:
        for name, value in {"beams": beams, "max_new_tokens": max_new_tokens, "batch_size": batch_size}.items():
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be 1 or more")
        self.prefix = prefix
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        folder = _resolve(model, allow_pickle, offline)
        self.identity = identity_digest([folder])
        self._tokenizer = _open_tokenizer(folder)
        self._network = _open_network(folder, allow_pickle, beams)
        self._limit = position_limit(self._network, self._tokenizer)

    def generate(self, texts: Sequence[str], *, progress: str | None = None) -> Generated:
        """Rewrite each text, in order. A text is truncated at the model's token limit."""
        found = Generated([""] * len(texts), [False] * len(texts))
        chosen = [index for index, text in enumerate(texts) if text.strip() and is_encodable(text)]
        if not chosen:
            return found
        inputs = [self.prefix + texts[index] for index in chosen]
        whole = self._tokenizer(inputs, verbose=False)["input_ids"]
        read = self._tokenizer(inputs, verbose=False, truncation=True, max_length=self._limit)["input_ids"]
        by_length: dict[int, list[tuple[int, list[int]]]] = {}
        for index, row, full in zip(chosen, read, whole, strict=True):
            found.cut[index] = len(full) > len(row)
            by_length.setdefault(len(row), []).append((index, row))
        for batch in _shown(self._batches(by_length), progress, len(chosen)):
            written, cut = self._write([row for _, row in batch])
            for (index, _), text, is_cut in zip(batch, written, cut, strict=True):
                found.texts[index] = text
                found.cut[index] |= is_cut
        return found

    def _batches(self, by_length: dict[int, list[tuple[int, list[int]]]]) -> Iterator[list[tuple[int, list[int]]]]:
        for length in sorted(by_length):
            rows = by_length[length]
            for start in range(0, len(rows), self.batch_size):
                yield rows[start : start + self.batch_size]

    def _write(self, rows: list[list[int]]) -> tuple[list[str], list[bool]]:
        import torch

        ids = torch.tensor(rows, device=self._network.device)
        room = min(self.max_new_tokens or 2 * ids.shape[1] + 16, self._limit)
        with torch.inference_mode(), quiet_transformers():
            written = self._network.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=room
            ).tolist()
        ends = self._network.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        texts = self._tokenizer.batch_decode(written, skip_special_tokens=True)
        # Skip the first token: it is the decoder's start token, which in BART is also the end token.
        return [text.strip() for text in texts], [not ends & set(row[1:]) for row in written]


def _resolve(model: str | Path, allow_pickle: bool, offline: str) -> Path:
    try:
        folder = resolve(model, allow_pickle=allow_pickle)
    except HubError as error:
        raise HubError(f"{error}; without a network: {offline}") if offline else error from None
    if is_adapter(folder):
        raise CheckpointError(f"{model} is an adapter; give a whole sequence-to-sequence model")
    return folder


def _open_tokenizer(folder: Path) -> Any:
    needed = []
    if any(folder.glob("*.spm")):
        needed = ["sentencepiece", "sacremoses"]  # without sacremoses Marian's tokenizer silently normalizes less
    elif any(folder.glob("*.model")) and not (folder / "tokenizer.json").is_file():
        needed = ["sentencepiece"]
    lacking = [name for name in needed if importlib.util.find_spec(name) is None]
    if lacking:
        raise UnsupportedError(
            f"the tokenizer of {folder} needs {' and '.join(lacking)}; pip install 'poisonsieve[translate]'"
        )
    try:
        return open_tokenizer(folder)
    except ImportError as error:
        raise UnsupportedError(
            f"the tokenizer of {folder} needs a package that is not installed ({first_line(error)}); "
            "pip install 'poisonsieve[translate]'"
        ) from error


def _open_network(folder: Path, allow_pickle: bool, beams: int) -> Any:
    from transformers import AutoModelForSeq2SeqLM

    with opening(folder, "a sequence-to-sequence model"):
        network, info = AutoModelForSeq2SeqLM.from_pretrained(folder, **how_to_open(folder, allow_pickle))
    if info["missing_keys"]:
        lost = sorted(info["missing_keys"])
        raise CheckpointError(f"{folder} lacks {len(lost)} weights of its own architecture (first: {lost[0]})")
    network.generation_config = _decoding(network.generation_config, beams)
    return network.to(pick_device()).eval()


def _decoding(saved: Any, beams: int) -> Any:
    from transformers import GenerationConfig

    kept = [*_TOKENS, *_RULES, *(_BEAM_RULES if beams > 1 else ())]
    values = {name: getattr(saved, name) for name in kept if getattr(saved, name, None) is not None}
    return GenerationConfig(do_sample=False, num_beams=beams, num_return_sequences=1, **values)


def _shown(
    batches: Iterator[list[tuple[int, list[int]]]], progress: str | None, total: int
) -> Iterator[list[tuple[int, list[int]]]]:
    with progress_bar(progress, "text", total=total) as moved:
        for batch in batches:
            yield batch
            moved.update(len(batch))
