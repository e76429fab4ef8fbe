"""Scoring texts: tokens, batches of similar length, forward passes, and a reason for each text that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from poisonsieve.errors import ConfigError
from poisonsieve.models.overhearing import listener
from poisonsieve.models.results import Logits, PerText, Pooling, pool_layers
from poisonsieve.models.tokens import encode_each
from poisonsieve.progress import shown, tell
from poisonsieve.texts import as_texts
from poisonsieve.verdict import Failure

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier

#: Maps token ids of some texts to arrays whose first axis is these texts.
Compute = Callable[[list[list[int]]], Sequence[np.ndarray]]


class BatchScorer:
    """A scorer of many texts with one classifier.

    Texts are batched by length, since padding is most of the cost on short ones; results come in the order given. A text
    that cannot be scored (no tokens, an exception in the network, results that are not finite) gets NaN and a reason. If
    a whole batch fails, its texts are tried one by one, so that one bad text does not affect the others.

    Args:
        classifier: the classifier, which is put into evaluation mode.
        batch_size: maximum number of texts per forward pass.
        max_length: truncate texts to this many tokens, and at most to the classifier's own limit.
        progress: a label for a progress bar on stderr; no bar without one.

    Every method raises DataError if one of the texts is not a string.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        progress: str | None = None,
    ) -> None:
        self.classifier = classifier
        self.batch_size = batch_size
        own = classifier.max_length
        self.limit = own if max_length is None else min(max_length, own)
        self.progress = progress

    def logits(self, texts: Sequence[str]) -> Logits:
        """Return the logits of every text, computed in the precision of the network."""
        texts = as_texts(texts)
        if (heard := listener(self.classifier, self.limit, texts)) is not None:
            return self.logits_and_states(texts, layers=heard.layers)[0]
        (found,) = self._read(texts, self._logits, [self._logits_shape])
        return Logits(found.values, found.truncated, found.errors)

    def logits_and_states(
        self, texts: Sequence[str], *, layers: Sequence[int] | None = None, pooling: Pooling | None = None
    ) -> tuple[Logits, PerText]:
        """Return logits, and one vector per text and layer, from one forward pass per batch.

        The states have shape (n, layers, hidden) and the precision of the network. The embedding layer does not count as
        a layer. The last layer's states are what the head reads, after the final norm if there is one. Virtual tokens
        are never pooled. A text has one error for its logits and one for its states.

        Args:
            texts: n strings.
            layers: layer numbers, from 0; None for all.
            pooling: the ``first`` or ``last`` of the text's tokens, or the ``mean`` over all; None for the head's own.

        Raises:
            UnsupportedError: the network does not return its layers' states.
            ConfigError: there is no such layer.
        """
        texts = as_texts(texts)
        depth, width = self.classifier.states_shape
        chosen = list(range(depth)) if layers is None else list(layers)
        if not chosen or not all(0 <= layer < depth for layer in chosen):
            raise ConfigError(
                f"{self.classifier.named} has the layers 0 to {depth - 1}, not {chosen}; choose from these"
            )
        chosen_pooling = pooling or self.classifier.pooling
        precision = np.float64 if self.classifier.base.dtype == torch.float64 else np.float32
        logits, states = self._read(
            texts,
            lambda rows: self._logits_and_states(rows, chosen, chosen_pooling),
            [self._logits_shape, ((len(chosen), width), precision)],
        )
        answers = Logits(logits.values, logits.truncated, logits.errors)
        if (heard := listener(self.classifier, self.limit, texts, pooling)) is not None:
            heard.take(texts, answers, states, chosen)
        return answers, states

    def each(
        self, texts: Sequence[str], compute: Callable[[list[list[int]]], np.ndarray], shape: tuple[int, ...]
    ) -> PerText:
        """Apply `compute` to the token ids of the texts; the results are float64.

        Args:
            texts: n strings.
            compute: maps token ids of some texts to an array of shape (number of those texts, *shape).
            shape: shape of the result for one text.
        """
        return self._read(texts, lambda rows: [compute(rows)], [(shape, np.float64)])[0]

    @property
    def _logits_shape(self) -> tuple[tuple[int, ...], type[np.floating[Any]]]:
        return (len(self.classifier.label_names),), np.float64

    @torch.inference_mode()
    def _logits(self, rows: list[list[int]]) -> list[np.ndarray]:
        if self.classifier.compiled is not None:
            return [self.classifier.compiled.logits(self.classifier.pad(rows))]
        return [self.classifier(**self.classifier.inputs(rows))["logits"].double().cpu().numpy()]

    @torch.inference_mode()
    def _logits_and_states(self, rows: list[list[int]], layers: Sequence[int], pooling: Pooling) -> list[np.ndarray]:
        if self.classifier.compiled is not None:
            return list(self.classifier.compiled.logits_and_states(self.classifier.pad(rows), layers, pooling))
        inputs = self.classifier.inputs(rows)
        mask = inputs["attention_mask"]
        output = self.classifier.run(**inputs, layers=layers)
        together = pool_layers(
            [output.hidden_states[1 + layer][:, -mask.shape[1] :] for layer in layers], mask, pooling
        )
        together = together if together.dtype == torch.float64 else together.float()  # numpy has no bf16
        return [output.logits.double().cpu().numpy(), together.cpu().numpy()]

    def _read(
        self, texts: Sequence[str], compute: Compute, kinds: Sequence[tuple[tuple[int, ...], type[np.floating[Any]]]]
    ) -> list[PerText]:
        """Apply `compute` to all texts; `kinds` has the shape and type, for one text, of each array it returns."""
        texts = as_texts(texts)
        encoded, errors = encode_each(self.classifier.tokenizer, texts, self.limit)
        truncated = np.array(encoded.truncated, dtype=bool)
        found = [
            PerText(np.full((len(texts), *shape), np.nan, dtype=dtype), truncated, list(errors))
            for shape, dtype in kinds
        ]
        if self.classifier.training:  # not restored afterwards, because another thread may be scoring
            self.classifier.eval()
        for batch in self._batches(encoded.ids):
            _fill(batch, encoded.ids, compute, found)
            tell(len(batch))
        return found

    def _batches(self, ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Yield the indices of the texts that share a pass, with a progress bar if one is wanted."""
        order = sorted((index for index in range(len(ids)) if ids[index]), key=lambda index: len(ids[index]))
        groups = self.classifier.layout.groups(
            [len(ids[index]) for index in order], self.batch_size, self.classifier.device.type
        )
        return shown([[order[place] for place in group] for group in groups], self.progress, "batch")


def _fill(batch: list[int], ids: Sequence[list[int]], compute: Compute, found: Sequence[PerText]) -> None:
    """Fill in the values of one batch; if it fails, go text by text, so that only the failing text gets none."""
    try:
        values = compute([ids[index] for index in batch])
        for part, value in zip(found, values, strict=True):
            part.values[batch] = value
    except Exception as error:
        if len(batch) > 1:
            for index in batch:
                _fill([index], ids, compute, found)
            return
        for part in found:
            part.values[batch] = np.nan
            # The reason names only the error's type: its message could quote the text, and reasons are logged.
            part.errors[batch[0]] = Failure("exception", f"model failed: {type(error).__name__}")
        return
    for part in found:
        for index in batch:
            if not np.isfinite(part.values[index]).all():
                part.values[index] = np.nan
                part.errors[index] = Failure("not_finite", "model gave a result that is not a finite number")
