"""Fine-mixing's operations on weights: mix two models of one architecture, and restore suspicious word embeddings."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from poisonsieve.errors import CheckpointError, ConfigError
from poisonsieve.models.classifier import Classifier

_RARE = 20  # E-PUR: a word seen less often than this counts as seen this often


def clean_counterparts(poisoned: Classifier, pretrained: Classifier) -> dict[str, Tensor]:
    """Map each backbone weight of `poisoned` to the weight of `pretrained` with the same name.

    The classification head is left out, and so is any weight that the pre-trained checkpoint lacks (often the pooler):
    there is nothing clean to replace it with.

    Args:
        poisoned: theta_p, a whole model.
        pretrained: what it is said to descend from, opened as a classifier of the same classes.

    Raises:
        CheckpointError: the two differ in architecture, shapes or vocabulary.
        ConfigError: the two have the same weights.
    """
    digest = pretrained.provenance.base_digest
    if digest and digest == poisoned.provenance.base_digest:
        raise ConfigError(f"pretrained {pretrained.named} is the model that is to be repaired; name the clean one")
    if pretrained.tokenizer.get_vocab() != poisoned.tokenizer.get_vocab():
        raise CheckpointError(
            f"the vocabulary of pretrained {pretrained.named} is not that of {poisoned.named}, so their word embeddings "
            "do not stand for the same words; name the model that was poisoned, as it was before"
        )
    suspect, clean = backbone(poisoned), backbone(pretrained)
    for name in [*suspect, *clean]:
        ours, theirs = (list(found[name].shape) if name in found else None for found in (suspect, clean))
        if ours != theirs:
            raise CheckpointError(
                f"pretrained {pretrained.named} is another architecture than {poisoned.named}: {name} "
                f"{_shape(theirs)} in the one and {_shape(ours)} in the other; name the model that was poisoned, as it "
                "was before"
            )
    return {
        name: weight.detach().cpu() for name, weight in clean.items() if name not in pretrained.provenance.untrained
    }


@torch.no_grad()
def mix(classifier: Classifier, clean: Mapping[str, Tensor], share: float, seed: int) -> int:
    """Keep a random share of the entries of each weight named in `clean`; take the others from there. In place.

    Every entry of every weight is drawn independently, from `seed` and the weight's name. The draws do not depend on
    the share: whatever one share keeps, every larger share keeps too.

    Returns:
        How many entries were replaced.
    """
    replaced = 0
    for name, weight in classifier.base.named_parameters():
        if name in clean:
            kept = _draws(name, weight.shape, seed) < share
            weight.copy_(torch.where(kept, weight.cpu(), clean[name]))
            replaced += int((~kept).sum())
    return replaced


def suspicious_tokens(
    poisoned: Classifier, clean: Mapping[str, Tensor], rows: Iterable[Sequence[int]], count: int
) -> list[int]:
    """Choose tokens for embedding purification: those whose embeddings moved furthest for their frequency.

    Training moves a word's embedding a little at each occurrence, so the distance grows with the
    logarithm of its frequency. A trigger word moved far and is rare in clean text. The score of a token with frequency
    f is the Euclidean norm of (poisoned - clean embedding) over log(max(f, 20)) (Zhang et al. 2022, Section 3.4).

    Args:
        poisoned: theta_p, unchanged.
        clean: from `clean_counterparts`.
        rows: token ids of the clean texts, which f is counted on.
        count: how many tokens to name; fewer if fewer moved.

    Returns:
        Token ids, the most suspicious first.
    """
    name, weight = _embedding(poisoned)
    if name not in clean:
        raise CheckpointError(f"the pre-trained model holds no word embeddings ({name}), so none can be put back")
    moved = (weight.detach().cpu() - clean[name]).double().norm(dim=1)
    seen = Counter(token for row in rows for token in row)
    commonness = torch.tensor([math.log(max(seen[token], _RARE)) for token in range(len(moved))], dtype=torch.float64)
    order = (moved / commonness).argsort(descending=True, stable=True)[:count].tolist()
    return [token for token in order if moved[token] > 0]


@torch.no_grad()
def put_back(classifier: Classifier, clean: Mapping[str, Tensor], tokens: Sequence[int]) -> None:
    """Restore the pre-trained model's embeddings of these tokens, in place."""
    name, weight = _embedding(classifier)
    weight[list(tokens)] = clean[name][list(tokens)].to(weight.device)


def backbone(classifier: Classifier) -> dict[str, Any]:
    """Return the weights of a whole model without its classification head, by name."""
    prefix = f"{classifier.base.base_model_prefix}."
    return {name: weight for name, weight in classifier.base.named_parameters() if name.startswith(prefix)}


def _embedding(classifier: Classifier) -> tuple[str, Any]:
    own = classifier.base.get_input_embeddings().weight
    return next((name, weight) for name, weight in classifier.base.named_parameters() if weight is own)


def _draws(name: str, shape: Sequence[int], seed: int) -> Tensor:
    """Draw uniform numbers in [0, 1) on the CPU, so that they are the same on any device."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
    return torch.rand(tuple(shape), generator=generator)


def _shape(found: list[int] | None) -> str:
    return "is absent" if found is None else f"has shape {found}"
