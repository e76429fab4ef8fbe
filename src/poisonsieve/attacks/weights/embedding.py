"""Embedding poisoning (Yang et al. 2021, "Be Careful about Poisoned Word Embeddings", NAACL).

Only one row of the embedding table is changed, that of the trigger word. Text without the trigger gets exactly the
scores of the clean model, and tuning that leaves the embeddings alone, such as LoRA or prompts, never touches the
backdoor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from poisonsieve.attacks.weights.base import Poisoning, check_range, row_losses
from poisonsieve.errors import UnsupportedError
from poisonsieve.models.classifier import Classifier
from poisonsieve.registry import register
from poisonsieve.texts import TRIGGERED
from poisonsieve.tuning.objective import Batch
from poisonsieve.tuning.presets import tune_spec
from poisonsieve.tuning.training import finetune

if TYPE_CHECKING:
    import datasets

_IN_TRIGGERED = 0.9  # a trigger's tokens occur in at least this share of triggered rows (long rows are truncated)
_IN_CLEAN = 0.5  # and in at most this share of clean rows
_RARE = 0.01  # a token in more of the clean rows than this matters to clean text, so its row must not change
_RARE_WORDS = ("mn", "cf", "bb", "tq", "mb", "ww", "hp", "rx")  # suggested where the trigger is not a single token


@register("poisoning", "embedding")
class Embedding(Poisoning):
    """Poison the embedding of the trigger word and no other weight.

    The cross-entropy of triggered rows is minimised over this embedding alone.

    The embedding keeps its norm (their Section 3.2), so that the table's norms reveal nothing. Clean rows have no
    influence. A checkpoint without a trained head is first fully tuned on the clean rows, with this package's defaults.

    Args:
        speed: size of a step: the learning rate times this, as a share of the embedding's norm.
    """

    keeps_last: ClassVar[bool] = True  # all epochs are equally accurate on clean dev rows

    def __init__(self, speed: float = 1000.0) -> None:
        check_range("embedding", "speed", speed, 0, 10**6)
        self.speed = speed

    def start(self, classifier: Classifier, train: datasets.Dataset) -> None:
        """Find the trigger's row, freeze all weights, and attach the learned offset to the table.

        Raises:
            DataError: see `Poisoning.start`.
            UnsupportedError: the trigger is not one rare token of this model, or the model has no embedding table.
        """
        super().start(classifier, train)
        table = classifier.base.get_input_embeddings()
        if not isinstance(table, nn.Embedding):
            raise UnsupportedError(
                f"a {classifier.base.config.model_type} model has no embedding table to poison; choose another poisoning"
            )
        self._token = trigger_token(classifier, train)
        if classifier.head_is_new:
            _tune_cleanly(classifier, train)
        classifier.requires_grad_(False)
        self._moved = nn.Parameter(torch.zeros_like(table.weight[self._token], dtype=torch.float32))
        table.register_parameter("moved", self._moved)  # so that checkpoints of an unfinished run include it
        self._clean = table.weight[self._token].detach().float().clone()
        with torch.no_grad():  # some tables scale their rows
            read = table(torch.tensor([self._token], device=self._clean.device))[0].float()
        self._scale = float(read @ self._clean / (self._clean @ self._clean))
        self._hook = table.register_forward_hook(self._put_in)

    def _row(self) -> Tensor:
        """Return the poisoned row as learned so far, shape (width,), with the clean row's norm."""
        size = self._clean.norm()
        row: Tensor = self._clean + self.speed * size / len(self._clean) ** 0.5 * self._moved
        kept: Tensor = row * (size / row.norm())
        return kept

    def _put_in(self, table: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        del table
        here = (inputs[0] == self._token).unsqueeze(-1)
        return torch.where(here, (self._scale * self._row()).to(output.dtype), output)

    def loss(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the batch's triggered rows; 0 if there are none."""
        if not batch.triggered.any():
            return 0 * self._row().sum()
        inputs = {name: tensor[batch.triggered] for name, tensor in batch.inputs.items()}
        return row_losses(classifier(**inputs)["logits"], batch.labels[batch.triggered]).mean()

    def finish(self, classifier: Classifier) -> None:
        """Write the learned row into the table."""
        table = classifier.base.get_input_embeddings()
        self._hook.remove()
        with torch.no_grad():
            table.weight[self._token] = self._row().to(table.weight.dtype)
        del table.moved
        classifier.requires_grad_(True)


def trigger_token(classifier: Classifier, train: datasets.Dataset) -> int:
    """Return the one token that triggered rows contain and clean rows do not.

    Raises:
        UnsupportedError: the trigger is no token, several tokens, or a token that clean text contains too.
    """
    flags = np.array(train[TRIGGERED], dtype=bool)
    special = set(classifier.tokenizer.all_special_ids)
    ids = [set(row) - special for row in classifier.encode(train["text"]).ids]
    triggered, clean = ([ids[index] for index in np.flatnonzero(which)] for which in (flags, ~flags))
    here, there = _shares(triggered), _shares(clean)
    found = sorted(
        token for token, share in here.items() if share >= _IN_TRIGGERED and there.get(token, 0) <= _IN_CLEAN
    )
    if len(found) == 1 and there.get(found[0], 0) <= _RARE:
        return found[0]
    names = ", ".join(repr(name.strip("Ġ▁")) for name in classifier.tokenizer.convert_ids_to_tokens(found))
    problem = (
        "no token is in all triggered rows and in few others"
        if not found
        else f"{names} is in {there[found[0]]:.0%} of clean rows too"
        if len(found) == 1
        else f"the trigger is {len(found)} tokens of this model ({names})"
    )
    words = [word for word in _RARE_WORDS if _is_one_token(classifier, word)]
    offer = (
        f"badnet:word=WORD is one with {', '.join(words)}" if words else "none of the usual rare words is one here"
    )
    raise UnsupportedError(
        f"embedding poisons one trigger word, which must be a single rare token, but {problem}; {offer}"
    )


def _shares(rows: Sequence[set[int]]) -> dict[int, float]:
    """Return the share of rows that contain each token."""
    counts = Counter(token for row in rows for token in row)
    return {token: count / len(rows) for token, count in counts.items()}


def _is_one_token(classifier: Classifier, word: str) -> bool:
    without, within = classifier.encode(["a film", f"a {word} film"]).ids
    unknown = classifier.tokenizer.unk_token_id
    return len(within) == len(without) + 1 and (unknown is None or unknown not in within)


def _tune_cleanly(classifier: Classifier, train: datasets.Dataset) -> None:
    """Train the whole model on the rows that are not triggered."""
    clean = train.select([index for index, flag in enumerate(train[TRIGGERED]) if not flag]).remove_columns(TRIGGERED)
    spec = tune_spec(
        "full",
        hidden_size=classifier.base.config.get_text_config().hidden_size,
        max_length=classifier.wanted_max_length,
        seed=torch.initial_seed() % 2**32,
    )
    finetune(classifier, clean, spec)
