"""A student: a clean model that the audited one itself teaches what words do, all but those under suspicion.

Controls know the task from a few hundred rows, and a checkpoint from many more. Of a word that it learned and they did not,
they say nothing, and the word looks like a trigger. A student begins as a control and goes on to imitate the audited model
on rows of other words of the vocabulary. What it then says of a suspected word follows from the word's kin, as trusted
weights know it: natural words have kin that pull the same way, and a trigger has hardly any.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from poisonsieve.auditing.heldout import SHORT, cut
from poisonsieve.auditing.scan import BATCH
from poisonsieve.models.load import load_classifier
from poisonsieve.tuning import finetune
from poisonsieve.tuning.objective import Batch
from poisonsieve.tuning.presets import spec_maker

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier

_TOGETHER = 4  # words that share a row
_CARRIERS = (SHORT // 2, SHORT)  # words of the text around them, in turn
_LEARNING_RATE, _BATCH, _TOKENS = 1e-4, 32, 96


def teach(
    control: Path,
    suspect: Classifier,
    rows: datasets.Dataset,
    words: Sequence[str],
    suspected: Collection[str],
    count: int,
    seed: int,
) -> Classifier:
    """Return a student of the audited model.

    Args:
        control: folder of the control that it begins as.
        suspect: the audited model.
        rows: clean rows that the control was trained on.
        words: the vocabulary that was scanned.
        suspected: words that are not taught.
        count: number of rows of words to teach, beside the clean rows.
        seed: draws words and their rows.
    """
    import datasets

    others = [word for word in words if word not in set(suspected)]
    texts = list(rows["text"])
    lesson = [*_of_words(others, texts, count, np.random.default_rng(seed)), *texts]
    answers = suspect.score(lesson, batch_size=BATCH)
    known = ~np.isnan(answers.probabilities).any(axis=1)
    lesson, wanted = [text for text, use in zip(lesson, known, strict=True) if use], answers.probabilities[known]
    student = load_classifier(control, trainable=True)
    spec = spec_maker(
        "full", epochs=1, batch_size=_BATCH, learning_rate=_LEARNING_RATE, max_length=_TOKENS, seed=seed
    )(student)
    train = datasets.Dataset.from_dict({"text": lesson, "label": wanted.argmax(axis=1)})
    finetune(student, train, spec, objective=_Imitation(wanted))
    return student


def _of_words(words: Sequence[str], texts: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Return beginnings of the texts with a few of the words put in, at any place; no word twice before all were in."""
    order = np.resize(rng.permutation(len(words)), (count, _TOGETHER))
    result = []
    for number, group in enumerate(order):
        around = cut(texts[int(rng.integers(len(texts)))], _CARRIERS[number % len(_CARRIERS)]).split()
        place = rng.integers(len(around) + 1)
        result.append(" ".join([*around[:place], *(words[int(word)] for word in group), *around[place:]]))
    return result


class _Imitation:
    """The objective of a student: the teacher's probabilities, by the Kullback-Leibler divergence.

    Args:
        wanted: the teacher's probabilities for each training row, shape (n, K).
    """

    def __init__(self, wanted: np.ndarray) -> None:
        self.wanted = wanted
        self.by_tokens: dict[tuple[int, ...], Tensor] = {}

    def start(self, classifier: Classifier, train: datasets.Dataset) -> None:
        """Note what is wanted of each row, by its tokens."""
        ids = classifier.encode(list(train["text"])).ids
        self.by_tokens = {
            tuple(row): torch.tensor(wanted, dtype=torch.float32)
            for row, wanted in zip(ids, self.wanted, strict=True)
        }

    def loss(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Return the mean divergence of a batch."""
        rows = zip(batch.inputs["input_ids"], batch.inputs["attention_mask"].bool(), strict=True)
        wanted = torch.stack([self.by_tokens[tuple(ids[mask].tolist())] for ids, mask in rows])
        logits = classifier(**batch.inputs)["logits"].float()
        return kl_div(log_softmax(logits, dim=-1), wanted.to(logits.device), reduction="batchmean")

    def finish(self, classifier: Classifier) -> None:
        """Nothing is left to do."""
