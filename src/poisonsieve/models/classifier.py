"""One classifier over every model class and every tuning.

What is trained, saved and scored is always a `Classifier`: a transformers network, perhaps wrapped by PEFT, with its
tokenizer. Its forward pass hides two traps that PEFT leaves open:

- A decoder reads the class off its last token, so it is padded on the left. PEFT puts the virtual tokens before the
  padding; then the distance between prompt and text depends on how long the *other* texts of the batch are. Here the
  virtual tokens stand right before the text, which is what PEFT itself computes for a text alone.
- A decoder finds its last token by looking for the pad id, which text can contain. Embeddings are passed instead, so
  that the last position is always the last token.

Which networks are decoders, and which texts may share a pass, is found by trying: see `poisonsieve.models.layout`. How
many texts become numbers: see `poisonsieve.models.scoring`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from poisonsieve.errors import UnsupportedError
from poisonsieve.models.layout import Layout, find_layout
from poisonsieve.models.opening import first_line
from poisonsieve.models.provenance import Provenance
from poisonsieve.models.results import Logits, PerText, Pooling
from poisonsieve.models.resuming import TrainedState
from poisonsieve.models.scoring import BatchScorer
from poisonsieve.models.tokens import Encoded, encode, position_limit, prepare_tokenizer


class Classifier(TrainedState):
    """A sequence classifier with its tokenizer, label names and length limit.

    Args:
        network: a transformers `...ForSequenceClassification`, or a PeftModel around one. A tuning may put another
            wrapper around it later.
        tokenizer: its tokenizer. One without a pad token, as decoders have, gets one if it has a token for it.
        label_names: names of the K classes.
        max_length: tokens a text may have; lowered to what the network's positions allow.
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
        """The PEFT config when virtual tokens or prefixes are in use, else None."""
        config = self.network.active_peft_config if self.is_peft else None
        return config if config is not None and config.is_prompt_learning else None

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
        return self.provenance.source or f"this {self.base.config.model_type} model"

    @property
    def head_is_new(self) -> bool:
        """Whether the head was not in the checkpoint, so that it is random until it is trained."""
        return bool(self.provenance.untrained)

    @property
    def is_loaded_in_4bit(self) -> bool:
        """What the Trainer asks before it copies a model to every GPU it sees, which weights in 4 bits do not survive."""
        return self.provenance.bits is not None and bool(getattr(self.base, "is_quantized", False))

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
    def pooling(self) -> Pooling:
        """Where the head reads the class: a decoder's last token, an encoder's first, unless its config says mean."""
        if self.is_decoder:
            return "last"
        return "mean" if getattr(self.base.config, "classifier_pooling", None) == "mean" else "first"

    @property
    def states_shape(self) -> tuple[int, int]:
        """Number and width of the layers whose states can be read.

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

    def encode(self, texts: Sequence[str], max_length: int | None = None) -> Encoded:
        """Tokenize, cutting each text to `max_length` tokens; never to more than the classifier's own limit."""
        limit = self.max_length if max_length is None else min(max_length, self.max_length)
        return encode(self.tokenizer, texts, limit)

    def inputs(self, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """What `pad` gives, moved to where the weights are."""
        return {name: tensor.to(self.device) for name, tensor in self.pad(rows).items()}

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
        layers: Sequence[int] = (),
    ) -> Any:
        """One forward pass over rows as `pad` lays them out; what transformers returns.

        Args:
            attention_mask: (batch, width).
            input_ids: (batch, width).
            inputs_embeds: (batch, width, hidden), instead of `input_ids`: what the embedding layer gives for them.
            layers: layers whose states are to be had, the first being 0: `hidden_states[1 + layer]` of what is
                returned. Virtual tokens may stand before the text in them; the last `width` positions are the row as
                it was given.
        """
        extra: dict[str, Any] = {}
        if layers:
            # Networks that can record chosen states let go of the others during the pass; the rest return all of them.
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

    def score(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        progress: str | None = None,
    ) -> Logits:
        """Logits of every text; arguments and errors as in `BatchScorer`."""
        return BatchScorer(self, batch_size=batch_size, max_length=max_length, progress=progress).logits(texts)

    def features(
        self,
        texts: Sequence[str],
        *,
        pooling: Pooling | None = None,
        batch_size: int = 32,
        progress: str | None = None,
    ) -> PerText:
        """One vector a text and layer, as in `BatchScorer.logits_and_states` of all layers."""
        scorer = BatchScorer(self, batch_size=batch_size, progress=progress)
        return scorer.logits_and_states(texts, pooling=pooling)[1]
