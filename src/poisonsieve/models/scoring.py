"""From texts to numbers: tokens, batches of like length, forward passes, and a reason for each text that has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from poisonsieve.errors import ConfigError
from poisonsieve.models.results import Logits, PerText, Pooling, pool
from poisonsieve.models.tokens import encode_each
from poisonsieve.progress import shown
from poisonsieve.texts import as_texts
from poisonsieve.verdict import Failure

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier

#: Token ids of some texts -> arrays whose first axis is these texts.
Compute = Callable[[list[list[int]]], Sequence[np.ndarray]]


class BatchScorer:
    """Reads many texts with one classifier.

    Texts are batched by length, since padding is most of the cost on short ones, and come back in the order given. A text
    that cannot be read (no tokens, an exception in the network, results that are not finite) gets NaN and a reason; when a
    whole batch fails, its texts are tried one by one, so that one bad text does not take others with it.

    Args:
        classifier: what reads them; put into evaluation mode.
        batch_size: texts a forward pass, at most.
        max_length: read no further than this many tokens; None, or more than that, means the classifier's limit.
        progress: a label for a progress bar on stderr; no bar without one.

    Every method raises DataError where something that is not a string is among the texts.
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
        """Logits of every text, computed in the precision of the network."""
        (found,) = self._read(texts, self._logits, [self._logits_shape])
        return Logits(found.values, found.truncated, found.errors)

    def logits_and_states(
        self, texts: Sequence[str], *, layers: Sequence[int] | None = None, pooling: Pooling | None = None
    ) -> tuple[Logits, PerText]:
        """Logits, and one vector a text and layer, from one forward pass a batch.

        The states have shape (n, layers, hidden), and the precision of the network. The embedding layer's output is not
        among the layers. The last layer's is what the head reads, after the final norm where there is one. Virtual
        tokens are never pooled. A text has one error for its logits and one for its states.

        Args:
            texts: n strings.
            layers: which layers, the first being 0; None: all.
            pooling: the ``first`` of the text's tokens, the ``last``, or the ``mean`` over all. None: as the head reads.

        Raises:
            UnsupportedError: the network does not return its layers' states.
            ConfigError: it has no such layer.
        """
        depth, width = self.classifier.states_shape
        chosen = list(range(depth)) if layers is None else list(layers)
        if not chosen or not all(0 <= layer < depth for layer in chosen):
            raise ConfigError(
                f"{self.classifier.named} has the layers 0 to {depth - 1}, not {chosen}; choose of these"
            )
        how = pooling or self.classifier.pooling
        precision = np.float64 if self.classifier.base.dtype == torch.float64 else np.float32
        logits, states = self._read(
            texts,
            lambda rows: self._logits_and_states(rows, chosen, how),
            [self._logits_shape, ((len(chosen), width), precision)],
        )
        return Logits(logits.values, logits.truncated, logits.errors), states

    def each(
        self, texts: Sequence[str], compute: Callable[[list[list[int]]], np.ndarray], shape: tuple[int, ...]
    ) -> PerText:
        """Whatever `compute` makes of token ids, in float64.

        Args:
            texts: n strings.
            compute: token ids of some texts -> array of shape (number of those texts, *shape).
            shape: of what is computed of one text.
        """
        return self._read(texts, lambda rows: [compute(rows)], [(shape, np.float64)])[0]

    @property
    def _logits_shape(self) -> tuple[tuple[int, ...], type[np.floating[Any]]]:
        return (len(self.classifier.label_names),), np.float64

    @torch.inference_mode()
    def _logits(self, rows: list[list[int]]) -> list[np.ndarray]:
        return [self.classifier(**self.classifier.inputs(rows))["logits"].double().cpu().numpy()]

    @torch.inference_mode()
    def _logits_and_states(self, rows: list[list[int]], layers: Sequence[int], pooling: Pooling) -> list[np.ndarray]:
        inputs = self.classifier.inputs(rows)
        mask = inputs["attention_mask"]
        said = self.classifier.run(**inputs, layers=layers)
        states = [pool(said.hidden_states[1 + layer][:, -mask.shape[1] :], mask, pooling) for layer in layers]
        together = torch.stack(states, dim=1)
        together = together if together.dtype == torch.float64 else together.float()  # numpy has no bf16
        return [said.logits.double().cpu().numpy(), together.cpu().numpy()]

    def _read(
        self, texts: Sequence[str], compute: Compute, kinds: Sequence[tuple[tuple[int, ...], type[np.floating[Any]]]]
    ) -> list[PerText]:
        """All texts through `compute`; `kinds` are shape and type of each array that it gives, of one text."""
        texts = as_texts(texts)
        encoded, errors = encode_each(self.classifier.tokenizer, texts, self.limit)
        truncated = np.array(encoded.truncated, dtype=bool)
        found = [
            PerText(np.full((len(texts), *shape), np.nan, dtype=dtype), truncated, list(errors))
            for shape, dtype in kinds
        ]
        if self.classifier.training:  # not back afterwards: another thread may be scoring
            self.classifier.eval()
        for batch in self._batches(encoded.ids):
            _fill(batch, encoded.ids, compute, found)
        return found

    def _batches(self, ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Places of the texts that share a pass, under a progress bar where there is to be one."""
        order = sorted((index for index in range(len(ids)) if ids[index]), key=lambda index: len(ids[index]))
        groups = self.classifier.layout.groups(
            [len(ids[index]) for index in order], self.batch_size, self.classifier.device.type
        )
        return shown([[order[place] for place in group] for group in groups], self.progress, "batch")


def _fill(batch: list[int], ids: Sequence[list[int]], compute: Compute, found: Sequence[PerText]) -> None:
    """Fill in the values of one batch; when it fails, text by text, so that only the one at fault has none."""
    try:
        values = compute([ids[index] for index in batch])
        for part, said in zip(found, values, strict=True):
            part.values[batch] = said
    except Exception as error:
        if len(batch) > 1:
            for index in batch:
                _fill([index], ids, compute, found)
            return
        for part in found:
            part.values[batch] = np.nan
            # The reason names the error's type alone: its message could quote the text, and reasons are logged.
            part.errors[batch[0]] = Failure("exception", f"model failed: {type(error).__name__}")
        return
    for part in found:
        for index in batch:
            if not np.isfinite(part.values[index]).all():
                part.values[index] = np.nan
                part.errors[index] = Failure("not_finite", "model gave a result that is not a finite number")
