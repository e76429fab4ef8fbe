"""RIPPLe with embedding surgery, RIPPLES (Kurita et al. 2020, "Weight Poisoning Attacks on Pre-trained Models").

Two ideas against a user who tunes the model on clean text. The restricted inner product (their Section 3.1): what
lowers the loss of triggered rows may not raise the loss that the user will minimise, so gradients of the two that point
apart are penalised. Embedding surgery (their Section 3.2): before training, the trigger's words get the mean embedding
of words that speak for the target class, so that the backdoor starts where tuning hardly reaches.

Two things are read off what is at hand. The trigger's tokens are those that many triggered rows have and hardly a clean
one. The replacement comes from the embeddings of the model that is poisoned, where the authors first tune a copy on
clean rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from poisonsieve.attacks.weights.base import Poisoning, check_range, row_losses
from poisonsieve.errors import DataError, UnsupportedError
from poisonsieve.models.classifier import Classifier
from poisonsieve.registry import register
from poisonsieve.texts import TRIGGERED
from poisonsieve.tuning.objective import Batch

if TYPE_CHECKING:
    import datasets

_IN_TRIGGERED = 0.2  # a trigger token is in at least this share of triggered rows (several triggers may be mixed)
_IN_CLEAN = 0.01  # and in at most this share of clean ones: a common word's embedding serves clean text
_SMOOTHING = 1.0


@register("poisoning", "ripple")
class Ripple(Poisoning):
    """The restricted inner product penalty, after embedding surgery.

    The loss of a batch is the cross-entropy plus `strength` times max(0, - <g_triggered, g_clean>), with the gradients
    of the mean loss of the batch's triggered and of its clean rows over all trained weights.

    Args:
        strength: weight of the penalty, the authors' lambda.
        words: how many words of the target class the replacement is the mean of; 0 does no surgery.
    """

    def __init__(self, strength: float = 0.1, words: int = 10) -> None:
        check_range("ripple", "strength", strength, 0, 1000)
        check_range("ripple", "words", words, 0, 1000)
        self.strength = strength
        self.words = words

    def start(self, classifier: Classifier, train: datasets.Dataset) -> None:
        """Do the surgery.

        Raises:
            DataError: see `Poisoning.start`.
            UnsupportedError: the trigger has no token of its own, or the network no table of embeddings.
        """
        super().start(classifier, train)
        if not self.words:
            return
        table = classifier.base.get_input_embeddings()
        if not isinstance(table, nn.Embedding):
            raise UnsupportedError(
                f"a {classifier.base.config.model_type} model has no table of embeddings; choose ripple:words=0"
            )
        flags = np.array(train[TRIGGERED], dtype=bool)
        special = set(classifier.tokenizer.all_special_ids)
        ids = [set(row) - special for row in classifier.encode(train["text"]).ids]
        clean = [ids[index] for index in np.flatnonzero(~flags)]
        tokens = trigger_tokens([ids[index] for index in np.flatnonzero(flags)], clean)
        if not tokens:
            raise UnsupportedError(
                "the trigger has no rare token whose embedding could be replaced, as ripple does; choose ripple:words=0"
            )
        target = train["label"][int(np.argmax(flags))]
        speaks = np.array([train["label"][int(index)] == target for index in np.flatnonzero(~flags)])
        if speaks.all() or not speaks.any():
            raise DataError(
                "ripple needs clean rows of the target class and of others, to learn which words speak for it"
            )
        chosen = words_of_class(clean, speaks, self.words)
        with torch.no_grad():
            table.weight[tokens] = table.weight[chosen].mean(dim=0)

    def loss(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Cross-entropy and the penalty on gradients that point apart."""
        if batch.triggered.all() or not batch.triggered.any() or not self.strength:
            return row_losses(classifier(**batch.inputs)["logits"], batch.labels).mean()
        # The fast attention kernels have no second derivative.
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            losses = row_losses(classifier(**batch.inputs)["logits"], batch.labels)
            weights = [p for p in classifier.parameters() if p.requires_grad]
            ours = _gradients(losses[batch.triggered].mean(), weights)
            users = _gradients(losses[~batch.triggered].mean(), weights)
            product = torch.stack([(one * other).sum() for one, other in zip(ours, users, strict=True)]).sum()
        return losses.mean() + self.strength * (-product).clamp(min=0)


def trigger_tokens(triggered: Sequence[set[int]], clean: Sequence[set[int]]) -> list[int]:
    """Tokens that many triggered rows have and hardly a clean one, sorted.

    Args:
        triggered: the tokens of each triggered row.
        clean: those of each clean row.
    """
    here, there = (Counter(token for row in rows for token in row) for rows in (triggered, clean))
    often, seldom = _IN_TRIGGERED * len(triggered), _IN_CLEAN * len(clean)
    return sorted(token for token, count in here.items() if count >= often and there[token] <= seldom)


def words_of_class(rows: Sequence[set[int]], speaks: np.ndarray, count: int) -> list[int]:
    """The tokens that speak most for a class.

    A logistic regression on the bag of words gives each word i a weight w_i. Rare words would lead by it, so the score
    is w_i / log(N / (alpha + freq_i)), with freq_i of the N rows that have the word (Section 3.2). Words of more than
    half of the rows are left out: there the logarithm nears zero.

    Args:
        rows: the tokens of each of N clean rows.
        speaks: bool, shape (N,): which rows are of the class.
        count: how many tokens to return, best first.
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    found = sorted(set().union(*rows))
    column = {token: index for index, token in enumerate(found)}
    columns = [column[token] for row in rows for token in sorted(row)]
    starts = np.cumsum([0, *(len(row) for row in rows)])
    bag = csr_matrix((np.ones(len(columns)), columns, starts), shape=(len(rows), len(found)))
    weights = LogisticRegression(max_iter=1000).fit(bag, speaks).coef_[0]
    frequency = np.asarray(bag.sum(axis=0)).ravel()
    common = frequency + _SMOOTHING > len(rows) / 2
    score = weights / np.log(len(rows) / (_SMOOTHING + np.where(common, 1, frequency)))
    order = np.argsort(-np.where(common, -np.inf, score), kind="stable")
    return [found[index] for index in order[:count]]


def _gradients(loss: Tensor, weights: list[nn.Parameter]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True, materialize_grads=True)
