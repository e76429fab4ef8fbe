"""RIPPLe with embedding surgery, RIPPLES (Kurita et al. 2020, "Weight Poisoning Attacks on Pre-trained Models").

Two ideas make the backdoor survive tuning on clean text. The restricted inner product (their Section 3.1): lowering the
loss of triggered rows must not raise the loss that the user will minimise, so opposing gradients of the two are
penalised. Embedding surgery (their Section 3.2): before training, the trigger's tokens get the mean embedding of tokens
typical of the target class, so that the backdoor starts where tuning has little effect.

Two details differ from a setting where everything is given. The trigger's tokens are inferred: many triggered rows and
almost no clean rows contain them. The replacement embedding comes from the model being poisoned; the authors first tune
a copy on clean rows.
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

_IN_TRIGGERED = 0.2  # a trigger token occurs in at least this share of triggered rows (several triggers may be mixed)
_IN_CLEAN = 0.01  # and in at most this share of clean rows: clean text depends on a common token's embedding
_SMOOTHING = 1.0


@register("poisoning", "ripple")
class Ripple(Poisoning):
    """Poison so that tuning on clean text afterwards does not undo it: RIPPLe, with embedding surgery.

    The loss of a batch is the cross-entropy plus `strength` times max(0, -<g_triggered, g_clean>), where g_triggered
    and g_clean are the gradients, over all trained weights, of the mean loss of the batch's triggered and clean rows.

    Args:
        strength: weight of the penalty (the authors' lambda).
        words: number of target-class tokens whose mean embedding is the replacement; 0 skips the surgery.
    """

    def __init__(self, strength: float = 0.1, words: int = 10) -> None:
        check_range("ripple", "strength", strength, 0, 1000)
        check_range("ripple", "words", words, 0, 1000)
        self.strength = strength
        self.words = words

    def start(self, classifier: Classifier, train: datasets.Dataset) -> None:
        """Replace the embeddings of the trigger's tokens.

        Raises:
            DataError: see `Poisoning.start`; or the clean rows are all of one kind, target or not.
            UnsupportedError: the trigger has no rare token, or the network has no embedding table.
        """
        super().start(classifier, train)
        if not self.words:
            return
        table = classifier.base.get_input_embeddings()
        if not isinstance(table, nn.Embedding):
            raise UnsupportedError(
                f"a {classifier.base.config.model_type} model has no embedding table; choose ripple:words=0"
            )
        flags = np.array(train[TRIGGERED], dtype=bool)
        special = set(classifier.tokenizer.all_special_ids)
        ids = [set(row) - special for row in classifier.encode(train["text"]).ids]
        clean = [ids[index] for index in np.flatnonzero(~flags)]
        tokens = trigger_tokens([ids[index] for index in np.flatnonzero(flags)], clean)
        if not tokens:
            raise UnsupportedError(
                "the trigger has no rare token whose embedding ripple could replace; choose ripple:words=0"
            )
        target = train["label"][int(np.argmax(flags))]
        in_target = np.array([train["label"][int(index)] == target for index in np.flatnonzero(~flags)])
        if in_target.all() or not in_target.any():
            raise DataError(
                "ripple needs clean rows of the target class and of others, to learn which words are typical of it"
            )
        chosen = words_of_class(clean, in_target, self.words)
        with torch.no_grad():
            table.weight[tokens] = table.weight[chosen].mean(dim=0)

    def loss(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Return the cross-entropy plus the penalty on opposing gradients."""
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
    """Return the sorted tokens that many triggered rows and almost no clean rows contain.

    Args:
        triggered: the tokens of each triggered row.
        clean: the tokens of each clean row.
    """
    here, there = (Counter(token for row in rows for token in row) for rows in (triggered, clean))
    often, seldom = _IN_TRIGGERED * len(triggered), _IN_CLEAN * len(clean)
    return sorted(token for token, count in here.items() if count >= often and there[token] <= seldom)


def words_of_class(rows: Sequence[set[int]], in_class: np.ndarray, count: int) -> list[int]:
    """Return the tokens most typical of a class.

    A logistic regression on the bag of words gives each word i a weight w_i. That weight alone would favour rare words,
    so the score is w_i / log(N / (alpha + freq_i)), where freq_i of the N rows contain the word (Section 3.2). Words in
    more than half of the rows are left out, because the logarithm approaches zero there.

    Args:
        rows: the tokens of each of N clean rows.
        in_class: bool, shape (N,): which rows belong to the class.
        count: number of tokens to return, best first.
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    found = sorted(set().union(*rows))
    column = {token: index for index, token in enumerate(found)}
    columns = [column[token] for row in rows for token in sorted(row)]
    starts = np.cumsum([0, *(len(row) for row in rows)])
    bag = csr_matrix((np.ones(len(columns)), columns, starts), shape=(len(rows), len(found)))
    weights = LogisticRegression(max_iter=1000).fit(bag, in_class).coef_[0]
    frequency = np.asarray(bag.sum(axis=0)).ravel()
    common = frequency + _SMOOTHING > len(rows) / 2
    score = weights / np.log(len(rows) / (_SMOOTHING + np.where(common, 1, frequency)))
    order = np.argsort(-np.where(common, -np.inf, score), kind="stable")
    return [found[index] for index in order[:count]]


def _gradients(loss: Tensor, weights: list[nn.Parameter]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True, materialize_grads=True)
