"""One classifier over every model class and every tuning.

What is trained, saved and scored is always a `Classifier`: a transformers network, perhaps wrapped by PEFT, with its
tokenizer. Its forward pass hides two traps that PEFT leaves open:

- A decoder reads the class off its last token, so it is padded on the left. PEFT puts the virtual tokens before the
  padding; then the distance between prompt and text depends on how long the *other* texts of the batch are. Here the
  virtual tokens stand right before the text, which is what PEFT itself computes for a text alone.
- A decoder finds its last token by looking for the pad id, which text can contain. Embeddings are passed instead, so
  that the last position is always the last token.

Which networks are decoders, and which texts may share a pass, is found by trying: see `poisonsieve.models.layout`.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from poisonsieve.errors import UnsupportedError
from poisonsieve.models.layout import Layout, find_layout
from poisonsieve.models.opening import first_line
from poisonsieve.models.results import NO_TOKENS, Logits, PerText, Pooling, compute_batch, pool
from poisonsieve.models.tokens import Encoded, position_limit, stated_limit
from poisonsieve.progress import shown
from poisonsieve.texts import as_texts
from poisonsieve.verdict import Failure

if TYPE_CHECKING:
    from pathlib import Path

# A fast tokenizer keeps the truncation of the last call as its state, so calls from two threads would mix theirs up.
_TOKENIZING = threading.Lock()
_CHARACTERS_PER_TOKEN = 64  # far more than the tokens of any real text hold


class Classifier(nn.Module):
    """A sequence classifier with its tokenizer, label names and length limit.

    Args:
        network: a transformers `...ForSequenceClassification`, or a PeftModel around one.
        tokenizer: its tokenizer.
        label_names: names of the K classes.
        max_length: tokens a text may have; lowered to what the network's positions allow.
        untrained: names of the weights the checkpoint did not hold: they are random and have to be trained.
        source: where the weights came from, as the user wrote it.
        base_digest: sha256 of the whole model's weights; of the base's for an adapter.
        base_folder: the local folder those weights were read from.

    Attributes:
        origins: sha256 of the weights it descends from, its own base's last; empty for weights of unknown descent.
        bits: 4 where its base is frozen in 4 bits, or is to be opened so again; else None.
        identity: sha256 over all files that decide what it computes; empty if it was not read from files.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        label_names: Sequence[str],
        *,
        max_length: int = 256,
        untrained: Sequence[str] = (),
        source: str = "",
        base_digest: str = "",
        base_folder: Path | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.label_names = list(label_names)
        self.untrained = list(untrained)
        self.source = source
        self.base_digest = base_digest
        self.base_folder = base_folder
        self.wanted_max_length = max_length
        self._takes_positions = "position_ids" in inspect.signature(self.base.forward).parameters
        self.origins: list[str] = []
        self.bits: int | None = None
        self.identity = ""
        self._layout: tuple[Any, int, Layout] | None = None
        self.take_tokenizer(tokenizer)

    def take_tokenizer(self, tokenizer: Any) -> None:
        """Read texts with this tokenizer. One without a pad token, as decoders have, gets one if it has a token for it."""
        self.tokenizer = tokenizer
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        if self.base.config.pad_token_id is None:
            self.base.config.pad_token_id = self.pad_id
        if (
            stated_limit(tokenizer.model_max_length) is None
        ):  # whatever else it says, libraries compare numbers with it
            tokenizer.model_max_length = VERY_LARGE_INTEGER
        self._limit = position_limit(self.base, tokenizer)

    @property
    def pad_id(self) -> int:
        """What padding is filled with. It is masked, so any token will do that there is an embedding for."""
        tokens = self.tokenizer
        rows = self.embedding_rows
        for candidate in (tokens.pad_token_id, tokens.eos_token_id, tokens.unk_token_id):
            if candidate is not None and (rows is None or 0 <= candidate < rows):
                return int(candidate)
        return 0

    @property
    def embedding_rows(self) -> int | None:
        """Tokens there are embeddings for; None for a network that has no table of them."""
        try:
            rows: int = self.base.get_input_embeddings().weight.shape[0]
        except (NotImplementedError, AttributeError):
            return None
        return rows

    @property
    def named(self) -> str:
        """What to call it in a message."""
        return self.source or f"this {self.base.config.model_type} model"

    @property
    def layout(self) -> Layout:
        """How its rows are laid out in a forward pass, found on the first look and again when network or limit change.

        Raises:
            UnsupportedError: see `find_layout`.
        """
        known = self._layout
        if known is not None and known[0] is self.network and known[1] == self.max_length:
            return known[2]
        try:
            return self.use(find_layout(self))
        except BaseException as error:
            self.forget_layout()
            if isinstance(error, AttributeError):  # which a module takes for a lack of this very attribute
                raise RuntimeError(f"finding the layout failed: {error}") from error
            raise

    def use(self, layout: Layout) -> Layout:
        """Lay rows out so from here on."""
        self._layout = (self.network, self.max_length, layout)
        return layout

    def forget_layout(self) -> None:
        """Have the layout found again: the weights have changed."""
        self._layout = None

    @property
    def is_decoder(self) -> bool:
        """Whether a token sees only those before it, so that the class is read off the last one."""
        return self.layout.causal

    @property
    def is_loaded_in_4bit(self) -> bool:
        """What the Trainer asks before it copies a model to every GPU it sees, which weights in 4 bits do not survive."""
        return self.bits is not None and bool(getattr(self.base, "is_quantized", False))

    @property
    def head_is_new(self) -> bool:
        """Whether the head was not in the checkpoint, so that it is random until it is trained."""
        return bool(self.untrained)

    @property
    def base(self) -> Any:
        """The transformers network without the PEFT wrapper."""
        return self.network.get_base_model() if self.is_peft else self.network

    @property
    def is_peft(self) -> bool:
        """Whether PEFT wraps the network."""
        # transformers' own adapter loading leaves a plain network with a `peft_config`.
        return hasattr(self.network, "get_base_model")

    @property
    def prompt_config(self) -> Any | None:
        """The PEFT config when virtual tokens or prefixes are in use, else None."""
        config = self.network.active_peft_config if self.is_peft else None
        return config if config is not None and config.is_prompt_learning else None

    @property
    def max_length(self) -> int:
        """Tokens a text may have, special tokens included, virtual tokens left room for."""
        return min(self.wanted_max_length, self.positions)

    @property
    def positions(self) -> int:
        """Tokens there are positions for, beside the virtual ones."""
        virtual = self.prompt_config.num_virtual_tokens if self.prompt_config is not None else 0
        return self._limit - virtual

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    # The Trainer's checkpoints hold what is trained, not the frozen base; and unlike PEFT's own adapter files they
    # keep P-tuning v1's prompt encoder, without which training could not be resumed.
    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Only the trainable weights, for resuming."""
        full = super().state_dict(*args, **kwargs)
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {name: value for name, value in full.items() if name in trained}

    def load_state_dict(self, state_dict: Any, strict: bool = False, assign: bool = False) -> Any:
        """Load what `state_dict` gave; the frozen weights stay, and do not count as missing."""
        del strict
        result = super().load_state_dict(state_dict, strict=False, assign=assign)
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        result.missing_keys[:] = [name for name in result.missing_keys if name in trained]
        return result

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Logits of shape (batch, K), and the cross-entropy when labels of shape (batch,) are given.

        Raises:
            UnsupportedError: in training, whatever the network fails with.
        """
        try:
            logits = self.run(attention_mask, input_ids=input_ids).logits
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if not self.training:
                raise
            kind = self.base.config.model_type
            raise UnsupportedError(
                f"{self.named}: a {kind} model fails in training ({type(error).__name__}: {first_line(error)})"
            ) from error
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits.float(), labels), "logits": logits}

    def run(
        self,
        attention_mask: Tensor,
        *,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> Any:
        """One forward pass over rows as `pad` lays them out; what transformers returns.

        Args:
            attention_mask: (batch, width).
            input_ids: (batch, width).
            inputs_embeds: (batch, width, hidden), instead of `input_ids`: what the embedding layer gives for them.
            output_hidden_states: return `hidden_states` too. Virtual tokens may stand before the text in them; the
                last `width` positions are the row as it was given.
        """
        extra = {"output_hidden_states": True} if output_hidden_states else {}
        if not self.layout.embeds:
            given = {"input_ids": input_ids} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
            return self.network(attention_mask=attention_mask, **given, **extra)
        if inputs_embeds is None:
            inputs_embeds = self.base.get_input_embeddings()(input_ids)
        return self._decode(inputs_embeds, attention_mask, extra)

    def _decode(self, embeds: Tensor, attention_mask: Tensor, extra: dict[str, Any]) -> Any:
        mask = attention_mask
        if self.prompt_config is not None:
            mask = torch.cat([mask.new_ones(len(mask), self.prompt_config.num_virtual_tokens), mask], dim=1)
            prompt = self.network.get_prompt(batch_size=len(embeds))
            if str(self.prompt_config.peft_type.value) == "PREFIX_TUNING":
                extra["past_key_values"] = prompt
            else:
                embeds = torch.cat([prompt.to(embeds.dtype), embeds], dim=1)
                padding_first = mask.argsort(dim=1, stable=True)
                embeds = embeds.gather(1, padding_first.unsqueeze(-1).expand_as(embeds))
                mask = mask.gather(1, padding_first)
        if self._takes_positions:
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            extra["position_ids"] = positions[:, -embeds.shape[1] :]
        caller = self.network if self.is_peft and self.prompt_config is None else self.base
        return caller(inputs_embeds=embeds, attention_mask=mask, **extra)

    def encode(self, texts: Sequence[str], max_length: int | None = None) -> Encoded:
        """Tokenize, cutting each text to `max_length` tokens; never to more than the classifier's own limit.

        Of a text with far more characters than such tokens can hold, the rest is not even looked at.
        """
        limit = self.max_length if max_length is None else min(max_length, self.max_length)
        longest = limit * _CHARACTERS_PER_TOKEN
        # Of the end that is kept: a victim that reads less than its guard reads a part of what the guard reads.
        left = self.tokenizer.truncation_side == "left"
        heads = [text[-longest:] if left else text[:longest] for text in texts]
        truncated = [len(text) > longest for text in texts]
        with _TOKENIZING:
            ids = self.tokenizer(heads, truncation=True, max_length=limit, verbose=False)["input_ids"]
            for index, row in enumerate(ids):
                if len(row) > limit:
                    truncated[index] = True
                elif len(row) == limit and not truncated[index]:
                    truncated[index] = len(self.tokenizer(heads[index], verbose=False)["input_ids"]) > len(row)
        # A limit below the number of special tokens is none to a tokenizer.
        return Encoded(
            [row[len(row) - limit :] if left and len(row) > limit else row[:limit] for row in ids], truncated
        )

    def pad(self, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask`, each (batch, longest), padded on the layout's side."""
        width = max(len(row) for row in rows)
        left = self.layout.side == "left"
        ids = torch.full((len(rows), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for index, row in enumerate(rows):
            where = slice(width - len(row), width) if left else slice(0, len(row))
            ids[index, where] = torch.tensor(row, dtype=torch.long)
            mask[index, where] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def inputs(self, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """What `pad` gives, moved to where the weights are."""
        return {name: tensor.to(self.device) for name, tensor in self.pad(rows).items()}

    def score(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        progress: str | None = None,
    ) -> Logits:
        """Logits of every text in the order given, in fp32.

        Texts are batched by length, since padding is most of the cost on short ones. A text that cannot be scored
        (no tokens, an exception in the network, logits that are not finite) gets a row of NaN and a reason; when a
        whole batch fails, its texts are tried one by one so that one bad text does not take others with it.

        Args:
            texts: n strings.
            batch_size: texts a forward pass, at most.
            max_length: read no further than this many tokens; None, or more than that, means the classifier's limit.
            progress: a label for a progress bar on stderr; no bar without one.

        Raises:
            DataError: something that is not a string is among the texts.
        """
        shape = (len(self.label_names),)
        found = self.each(texts, self._logits, shape, batch_size=batch_size, max_length=max_length, progress=progress)
        return Logits(found.values, found.truncated, found.errors)

    def features(
        self,
        texts: Sequence[str],
        *,
        pooling: Pooling | None = None,
        batch_size: int = 32,
        progress: str | None = None,
    ) -> PerText:
        """One vector a text and layer: `values` has shape (n, layers, hidden), and the precision of the network.

        The embedding layer's output is not among the layers. The last layer's is what the head reads, after the
        final norm where there is one. Virtual tokens are never pooled. Texts that cannot be read: as in `score`.

        Args:
            texts: n strings.
            pooling: the ``first`` of the text's tokens, the ``last``, or the ``mean`` over all. None: `pooling`.
            batch_size: texts a forward pass, at most.
            progress: a label for a progress bar on stderr; no bar without one.

        Raises:
            DataError: something that is not a string is among the texts.
        """
        chosen = pooling or self.pooling
        return self.each(
            texts,
            lambda rows: self._features(rows, chosen),
            self.states_shape,
            batch_size=batch_size,
            dtype=np.float64 if self.base.dtype == torch.float64 else np.float32,
            progress=progress,
        )

    @property
    def states_shape(self) -> tuple[int, int]:
        """Number and width of the layers that `features` reads.

        Raises:
            UnsupportedError: the network does not return the states of every token.
        """
        shape = self.layout.states
        if shape is not None:
            return shape
        kind = self.base.config.model_type
        why = (
            "hidden states of an encoder-decoder are not read"
            if self.base.config.is_encoder_decoder
            else (f"a {kind} model does not return its layers' states of every token")
        )
        raise UnsupportedError(
            f"{self.named}: {why}; choose a detector that reads the output alone, such as psim or msp"
        )

    @property
    def pooling(self) -> Pooling:
        """Where the head reads the class: a decoder's last token, an encoder's first, unless its config says mean."""
        if self.is_decoder:
            return "last"
        return "mean" if getattr(self.base.config, "classifier_pooling", None) == "mean" else "first"

    def each(
        self,
        texts: Sequence[str],
        compute: Callable[[list[list[int]]], np.ndarray],
        shape: tuple[int, ...],
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        dtype: type[np.floating[Any]] = np.float64,
        progress: str | None = None,
    ) -> PerText:
        """`compute` over all texts, batched by length, with `score`'s treatment of texts that cannot be read.

        Args:
            texts: n strings.
            compute: token ids of some texts -> array of shape (number of those texts, *shape).
            shape: of what is computed of one text.
            batch_size: texts a forward pass, at most.
            max_length: see `score`.
            dtype: of the values.
            progress: a label for a progress bar on stderr; no bar without one.

        Raises:
            DataError: something that is not a string is among the texts.
        """
        texts = as_texts(texts)
        values = np.full((len(texts), *shape), np.nan, dtype=dtype)
        encoded, errors = self._encode_each(texts, max_length)
        order = [index for index in range(len(texts)) if encoded.ids[index]]
        order.sort(key=lambda index: len(encoded.ids[index]))
        if self.training:  # not back afterwards: another thread may be scoring
            self.eval()
        lengths = [len(encoded.ids[index]) for index in order]
        groups = self.layout.groups(lengths, batch_size, self.device.type)
        for batch in shown([[order[place] for place in group] for group in groups], progress, "batch"):
            compute_batch(batch, encoded, compute, values, errors)
        return PerText(values, np.array(encoded.truncated, dtype=bool), errors)

    def read(self, texts: Sequence[str]) -> Encoded:
        """As `encode`; a text that the tokenizer fails on has no ids."""
        return self._encode_each(texts, None)[0]

    def _encode_each(self, texts: Sequence[str], max_length: int | None) -> tuple[Encoded, list[str | None]]:
        """All texts encoded, and why each has no ids that could not be."""
        errors: list[str | None] = [None] * len(texts)
        try:
            encoded = self.encode(texts, max_length) if texts else Encoded([], [])
        except Exception:
            parts = [self._encode_one(text, errors, index, max_length) for index, text in enumerate(texts)]
            encoded = Encoded([part.ids[0] for part in parts], [part.truncated[0] for part in parts])
        for index, ids in enumerate(encoded.ids):
            if not ids and errors[index] is None:
                errors[index] = NO_TOKENS
        return encoded, errors

    def _encode_one(self, text: str, errors: list[str | None], index: int, max_length: int | None) -> Encoded:
        try:
            return self.encode([text], max_length)
        except Exception as error:
            errors[index] = Failure("tokenizer", f"tokenizer failed: {type(error).__name__}")
            return Encoded([[]], [False])

    @torch.inference_mode()
    def _logits(self, rows: list[list[int]]) -> np.ndarray:
        inputs = self.inputs(rows)
        logits: np.ndarray = self(**inputs)["logits"].double().cpu().numpy()
        return logits

    @torch.inference_mode()
    def _features(self, rows: list[list[int]], pooling: Pooling) -> np.ndarray:
        inputs = self.inputs(rows)
        mask = inputs["attention_mask"]
        layers = self.run(**inputs, output_hidden_states=True).hidden_states[1:]
        pooled = [pool(layer[:, -mask.shape[1] :], mask, pooling) for layer in layers]
        together = torch.stack(pooled, dim=1)
        together = together if together.dtype == torch.float64 else together.float()  # numpy has no bf16
        features: np.ndarray = together.cpu().numpy()
        return features
