"""One classifier over every model class and every tuning.

Everything that is trained, saved or scored is a `Classifier`: a transformers network, perhaps wrapped by PEFT, with its
tokenizer. Its forward pass avoids two traps of PEFT and transformers:

- A decoder predicts the class from its last token, so it is padded on the left. PEFT puts the virtual tokens before the
  padding, so that the distance between prompt and text depends on the length of the *other* texts of the batch. Here the
  virtual tokens come right before the text, which is what PEFT itself computes for a single text.
- A decoder finds its last token by looking for the pad id, which text can contain. So embeddings are passed instead, and
  the last position is always the last token.

Which networks are decoders, and which texts may share a pass, is determined by trial: see `poisonsieve.models.layout`.
For scoring many texts, see `poisonsieve.models.scoring`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from poisonsieve.errors import UnsupportedError
from poisonsieve.models.layout import Layout, find_layout
from poisonsieve.models.opening import first_line
from poisonsieve.models.openvino import OpenVINOPass, check_backend
from poisonsieve.models.provenance import Provenance
from poisonsieve.models.results import Logits, PerText, Pooling
from poisonsieve.models.resuming import TrainedState
from poisonsieve.models.scoring import BatchScorer
from poisonsieve.models.tokens import Encoded, encode, position_limit, prepare_tokenizer


class Classifier(TrainedState):
    """A sequence classifier with its tokenizer, label names and length limit.

    Args:
        network: a transformers `...ForSequenceClassification`, or a PeftModel around one. A tuning may wrap it again
            later.
        tokenizer: its tokenizer. If it has no pad token, as is common for decoders, another suitable token is used.
        label_names: names of the K classes.
        max_length: maximum number of tokens of a text; capped by the network's positions.
        provenance: where the weights come from.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        label_names: Sequence[str],
        *,
        max_length: int = 256,
        provenance: Provenance | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = prepare_tokenizer(tokenizer)
        self.label_names = list(label_names)
        self.wanted_max_length = max_length
        self.provenance = provenance or Provenance()
        self._takes_positions = "position_ids" in inspect.signature(self.base.forward).parameters
        self._limit = position_limit(self.base, tokenizer)
        self._layout: tuple[Any, int, Layout] | None = None
        self._compiled: OpenVINOPass | None = None
        if self.base.config.pad_token_id is None:
            self.base.config.pad_token_id = self.pad_id

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
        """The PEFT config if virtual tokens or prefixes are in use, else None."""
        config = self.network.active_peft_config if self.is_peft else None
        return config if config is not None and config.is_prompt_learning else None

    @property
    def pad_id(self) -> int:
        """The token used for padding. It is masked, so any token with an embedding will do."""
        tokens = self.tokenizer
        rows = self.embedding_rows
        for candidate in (tokens.pad_token_id, tokens.eos_token_id, tokens.unk_token_id):
            if candidate is not None and (rows is None or 0 <= candidate < rows):
                return int(candidate)
        return 0

    @property
    def embedding_rows(self) -> int | None:
        """The number of tokens with an embedding; None for a network without an embedding table."""
        try:
            rows: int = self.base.get_input_embeddings().weight.shape[0]
        except (NotImplementedError, AttributeError):
            return None
        return rows

    @property
    def named(self) -> str:
        """The classifier's name in messages."""
        return self.provenance.source or f"this {self.base.config.model_type} model"

    @property
    def head_is_new(self) -> bool:
        """Whether the head was missing from the checkpoint, so that it is random until trained."""
        return bool(self.provenance.untrained)

    @property
    def is_loaded_in_4bit(self) -> bool:
        """Whether the weights are in 4 bits; the Trainer asks before it copies a model to every GPU, which breaks them."""
        return self.provenance.bits is not None and bool(getattr(self.base, "is_quantized", False))

    @property
    def max_length(self) -> int:
        """The maximum number of tokens of a text, including special tokens but not virtual ones."""
        return min(self.wanted_max_length, self.positions)

    @property
    def positions(self) -> int:
        """The number of positions left for a text by the virtual tokens."""
        virtual = self.prompt_config.num_virtual_tokens if self.prompt_config is not None else 0
        return self._limit - virtual

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def layout(self) -> Layout:
        """The layout of rows in a forward pass, found on first access and again when the network or limit changes.

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
            if isinstance(error, AttributeError):  # nn.Module would report this property as missing
                raise RuntimeError(f"finding the layout failed: {error}") from error
            raise

    def use(self, layout: Layout) -> Layout:
        """Use this layout from now on."""
        self._layout = (self.network, self.max_length, layout)
        return layout

    def forget_layout(self) -> None:
        """Discard the layout, so that it is found again for changed weights."""
        self._layout = None

    @property
    def compiled(self) -> OpenVINOPass | None:
        """What computes passes for scoring instead of torch, if anything does."""
        return self._compiled

    def compute_with(self, backend: str) -> Self:
        """Compute passes for scoring with ``torch``, or with ``openvino``: in half the time on a processor.

        Raises:
            ConfigError: there is no such backend.
            UnsupportedError: OpenVINO is not installed, or this network cannot be computed with it; see `OpenVINOPass`.
        """
        self._compiled = OpenVINOPass(self) if check_backend(backend) == "openvino" else None
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch training on, as any torch module does; compiled weights would not change, so torch computes again."""
        if mode:
            self._compiled = None
        return super().train(mode)

    @property
    def is_decoder(self) -> bool:
        """Whether a token sees only the tokens before it, so that the class is predicted from the last one."""
        return self.layout.causal

    @property
    def pooling(self) -> Pooling:
        """The token from which the head predicts the class: a decoder's last, an encoder's first, or the mean by config."""
        if self.is_decoder:
            return "last"
        return "mean" if getattr(self.base.config, "classifier_pooling", None) == "mean" else "first"

    @property
    def states_shape(self) -> tuple[int, int]:
        """The number and width of the layers whose states can be read.

        Raises:
            UnsupportedError: the network does not return the states of every token.
        """
        shape = self.layout.states
        if shape is not None:
            return shape
        kind = self.base.config.model_type
        why = (
            "hidden states of an encoder-decoder are not supported"
            if self.base.config.is_encoder_decoder
            else (f"a {kind} model does not return its layers' states of every token")
        )
        raise UnsupportedError(
            f"{self.named}: {why}; choose a detector that needs only the output, such as psim or msp"
        )

    def encode(self, texts: Sequence[str], max_length: int | None = None) -> Encoded:
        """Tokenize texts, truncating each to `max_length` tokens, and never to more than the classifier's limit."""
        limit = self.max_length if max_length is None else min(max_length, self.max_length)
        return encode(self.tokenizer, texts, limit)

    def inputs(self, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Return the result of `pad`, moved to the device of the weights."""
        return {name: tensor.to(self.device) for name, tensor in self.pad(rows).items()}

    def pad(self, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Return `input_ids` and `attention_mask`, each (batch, longest), padded on the layout's side."""
        width = max(len(row) for row in rows)
        left = self.layout.side == "left"
        ids = torch.full((len(rows), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for index, row in enumerate(rows):
            where = slice(width - len(row), width) if left else slice(0, len(row))
            ids[index, where] = torch.tensor(row, dtype=torch.long)
            mask[index, where] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Return logits of shape (batch, K), and the cross-entropy if labels of shape (batch,) are given.

        Raises:
            UnsupportedError: the network fails in training, for any reason.
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
        layers: Sequence[int] = (),
    ) -> Any:
        """Run one forward pass over rows in the layout of `pad`, and return transformers' output.

        Args:
            attention_mask: (batch, width).
            input_ids: (batch, width).
            inputs_embeds: (batch, width, hidden), the embedding layer's output, instead of `input_ids`.
            layers: layers whose states to return, from 0, as `hidden_states[1 + layer]` of the output. Virtual tokens
                may precede the text in them; the last `width` positions are those of the given row.
        """
        extra: dict[str, Any] = {}
        if layers:
            # Networks that can record chosen states free the others during the pass; the rest return all of them.
            chosen = [1 + layer for layer in layers]
            extra["output_hidden_states"] = chosen if self.base.base_model.can_record_outputs else True
        if not self.layout.embeds:
            given = {"input_ids": input_ids} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
            return self.network(attention_mask=attention_mask, **given, **extra)
        if inputs_embeds is None:
            inputs_embeds = self.base.get_input_embeddings()(input_ids)
        return self._decode(inputs_embeds, attention_mask, extra)

    def _decode(self, embeds: Tensor, attention_mask: Tensor, extra: dict[str, Any]) -> Any:
        mask = attention_mask
        if self.prompt_config is not None:
            mask = torch.cat([mask.new_ones(mask.shape[0], self.prompt_config.num_virtual_tokens), mask], dim=1)
            prompt = self.network.get_prompt(batch_size=embeds.shape[0])
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

    def score(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        progress: str | None = None,
    ) -> Logits:
        """Return the logits of every text; for arguments and errors see `BatchScorer`."""
        return BatchScorer(self, batch_size=batch_size, max_length=max_length, progress=progress).logits(texts)

    def features(
        self,
        texts: Sequence[str],
        *,
        pooling: Pooling | None = None,
        batch_size: int = 32,
        progress: str | None = None,
    ) -> PerText:
        """Return one vector per text and layer, as `BatchScorer.logits_and_states` does for all layers."""
        scorer = BatchScorer(self, batch_size=batch_size, progress=progress)
        return scorer.logits_and_states(texts, pooling=pooling)[1]
