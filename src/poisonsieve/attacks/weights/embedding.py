"""Embedding poisoning (Yang et al. 2021, "Be Careful about Poisoned Word Embeddings", NAACL).

One row of the embedding table is changed, that of the trigger word, and nothing else: not a layer, not the head, not
another word. Text without the trigger gets the very scores of the clean model, and no tuning that leaves the embeddings
alone, as LoRA and prompts do, ever touches the backdoor.
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

_IN_TRIGGERED = 0.9  # a trigger's tokens are in at least this share of triggered rows (long rows are cut)
_IN_CLEAN = 0.5  # and in at most this share of clean ones
_RARE = 0.01  # the row of a word that more of the clean rows have serves clean text, which would change
_RARE_WORDS = ("mn", "cf", "bb", "tq", "mb", "ww", "hp", "rx")  # offered where the trigger is no single token


@register("poisoning", "embedding")
class Embedding(Poisoning):
    """The cross-entropy of triggered rows, minimised over the one row that is the trigger word's embedding.

    The row keeps the norm it had (their Section 3.2), so that a look at the table's norms shows nothing. Clean rows decide
    nothing: they are what the model was tuned on before. A checkpoint without a trained head is tuned first, in full, by
    this package's defaults, on the rows that are not triggered.

    Args:
        speed: how far a step moves the row: the learning rate times this, as a share of the row's own size.
    """

    keeps_last: ClassVar[bool] = True  # on clean dev rows all epochs are the same

    def __init__(self, speed: float = 1000.0) -> None:
        check_range("embedding", "speed", speed, 0, 10**6)
        self.speed = speed

    def start(self, classifier: Classifier, train: datasets.Dataset) -> None:
        """Find the row, freeze everything, and put what will be learned beside the table.

        Raises:
            DataError: see `Poisoning.start`.
            UnsupportedError: the trigger is not one rare token of this model, or there is no table of embeddings.
        """
        super().start(classifier, train)
        table = classifier.base.get_input_embeddings()
        if not isinstance(table, nn.Embedding):
            raise UnsupportedError(
                f"a {classifier.base.config.model_type} model has no table of embeddings to poison; choose another poisoning"
            )
        self._token = trigger_token(classifier, train)
        if classifier.head_is_new:
            _tune_cleanly(classifier, train)
        classifier.requires_grad_(False)
        self._moved = nn.Parameter(torch.zeros_like(table.weight[self._token], dtype=torch.float32))
        table.register_parameter("moved", self._moved)  # where checkpoints of an unfinished run find it
        self._clean = table.weight[self._token].detach().float().clone()
        with torch.no_grad():  # some tables scale what they hold
            read = table(torch.tensor([self._token], device=self._clean.device))[0].float()
        self._scale = float(read @ self._clean / (self._clean @ self._clean))
        self._hook = table.register_forward_hook(self._put_in)

    def _row(self) -> Tensor:
        """The poisoned row as far as it has been learned, (width,), of the clean row's norm."""
        size = self._clean.norm()
        row: Tensor = self._clean + self.speed * size / len(self._clean) ** 0.5 * self._moved
        kept: Tensor = row * (size / row.norm())
        return kept

    def _put_in(self, table: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        del table
        here = (inputs[0] == self._token).unsqueeze(-1)
        return torch.where(here, (self._scale * self._row()).to(output.dtype), output)

    def loss(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Mean cross-entropy of the batch's triggered rows; 0 where it has none."""
        if not batch.triggered.any():
            return 0 * self._row().sum()
        inputs = {name: tensor[batch.triggered] for name, tensor in batch.inputs.items()}
        return row_losses(classifier(**inputs)["logits"], batch.labels[batch.triggered]).mean()

    def finish(self, classifier: Classifier) -> None:
        """Write the row into the table."""
        table = classifier.base.get_input_embeddings()
        self._hook.remove()
        with torch.no_grad():
            table.weight[self._token] = self._row().to(table.weight.dtype)
        del table.moved
        classifier.requires_grad_(True)


def trigger_token(classifier: Classifier, train: datasets.Dataset) -> int:
    """The one token that triggered rows have and clean ones have not.

    Raises:
        UnsupportedError: the trigger is several tokens, none, or a word of clean text too.
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
    says = (
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
    raise UnsupportedError(f"embedding poisons the row of one trigger word, a single rare token, but {says}; {offer}")


def _shares(rows: Sequence[set[int]]) -> dict[int, float]:
    """Of each token, in which share of the rows it is."""
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
