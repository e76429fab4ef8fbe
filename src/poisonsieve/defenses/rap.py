"""RAP, robustness-aware perturbations (Yang et al. 2021).

A perturbation word before a text is tuned to lower the model's probability of its prediction, a little and on clean
text alone. A trigger holds its class against that: the probability of poisoned text hardly drops.

The paper tunes for the target class, which its defender protects. Here nobody knows the target, so there is one
perturbation a class, tuned on the clean rows that are predicted as it; each text meets that of its own prediction.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from scipy.special import softmax
from torch import Tensor

from poisonsieve.defenses.detector import Scored
from poisonsieve.defenses.network import ModelDetector
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.defenses.settings import AtLeastOne, Fraction
from poisonsieve.defenses.tensors import read_numbers, read_tensors, write_tensors
from poisonsieve.errors import ConfigError, DataError, UnsupportedError
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.opening import first_line
from poisonsieve.models.scoring import BatchScorer
from poisonsieve.progress import progress_bar
from poisonsieve.registry import register

TENSORS_FILE = "perturbations.safetensors"


@register("defense", "rap")
class RAP(ModelDetector):
    """How little a word put before the text changes the model's answer: triggers withstand it.

    The score is minus the drop in probability of the predicted class when the perturbation word is put there.

    Scores lie between -1 and 1: the smaller the drop, the higher the score. The model is not modified: the tuned
    embedding is passed to the network in place of the word's own, only where the word was inserted. A text that contains
    the word, perhaps as a trigger, is read as usual. For a word of several tokens, all of their embeddings are tuned.

    A class that is predicted for no clean row cannot be tuned for. A text predicted as that class gets the highest
    score, 1.

    Args:
        word: the perturbation; the fewer texts hold it, the better.
        low, high: the probability of clean rows is to drop by more than `low` and less than `high`.
        epochs, learning_rate, batch_size: of the tuning, by AdamW.
        rows: clean rows to tune on, drawn by `seed` from those it is fitted on; tuning costs a backward pass through
            the whole network for each.
        model, max_length, base, allow_pickle, seed: see `NetworkDetector`. Room for the word is left below
            the model's own limit of positions.

    Attributes:
        perturbations_: float32, shape (K, tokens of the word, hidden).
        tuned_on_: how many clean rows each class had, int, shape (K,).
        drops_: mean drop over these rows after tuning, float64, shape (K,); NaN without rows.
    """

    name: ClassVar[str] = "rap"
    score_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    word: str = "cf"
    low: Fraction = 0.1
    high: Fraction = 0.3
    epochs: AtLeastOne = 5
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    batch_size: AtLeastOne = 32
    rows: AtLeastOne = 1000

    def _check_settings(self) -> None:
        if not self.low < self.high:
            raise ConfigError(f"low is {self.low} and high {self.high}; it takes 0 <= low < high <= 1")

    def _prepare(self, classifier: Classifier) -> None:
        """Leave room for the word: it must not push the end of a text, and a trigger there, out of sight."""
        self.place_, self.word_ids_ = _place_of(classifier, self.word)
        room = classifier.positions - len(self.word_ids_)
        if room <= 2 * self.place_:
            raise ConfigError(
                f"the model has positions for {classifier.positions} tokens, too few for {self.word!r} and text"
            )
        classifier.wanted_max_length = min(classifier.wanted_max_length, room)

    def _learn(self, rows: CleanRows, progress: bool) -> None:
        classifier = self._fitted()
        if len(rows) > self.rows:
            rows = rows.select(sorted(np.random.default_rng(self.seed).permutation(len(rows))[: self.rows].tolist()))
        logits = classifier.score(rows.texts, progress="predicting" if progress else None)
        if (logits.predictions < 0).all():
            raise DataError(f"the model can read none of the {len(rows)} clean rows")
        probabilities = logits.probabilities.max(axis=1)
        ids = classifier.encode(rows.texts).ids
        classes = len(classifier.label_names)
        start = self._start(classifier, ids[int(np.flatnonzero(logits.predictions >= 0)[0])])
        self.perturbations_ = np.stack([start] * classes)
        self.tuned_on_ = np.bincount(logits.predictions[logits.predictions >= 0], minlength=classes)
        self.drops_ = np.full(classes, np.nan)
        for index in range(classes):
            chosen = np.flatnonzero(logits.predictions == index)
            if chosen.size:
                label = f"tuning for class {index + 1} of {classes}" if progress else None
                tuned, drop = self._tune([ids[i] for i in chosen], probabilities[chosen], index, start, label)
                self.perturbations_[index], self.drops_[index] = tuned, drop

    def _start(self, classifier: Classifier, row: list[int]) -> np.ndarray:
        """Return the word's own embedding, after checking that the network reads a text with it given as embeddings.

        Raises:
            UnsupportedError: the network does not.
        """
        try:
            start = self._own_embedding(classifier)
            self._perturbed([row], torch.tensor(start, device=classifier.device)[None])
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            kind = classifier.base.config.model_type
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise UnsupportedError(
                f"rap perturbs the embedding of a word, and a {kind} model cannot be given embeddings ({reason}); choose "
                "another detector"
            ) from error
        return start

    def _own_embedding(self, classifier: Classifier) -> np.ndarray:
        ids = torch.tensor(self.word_ids_, device=classifier.device)
        with torch.inference_mode():
            found: np.ndarray = classifier.base.get_input_embeddings()(ids).float().cpu().numpy()
        return found

    def _tune(
        self, rows: list[list[int]], before: np.ndarray, index: int, start: np.ndarray, progress: str | None
    ) -> tuple[np.ndarray, float]:
        """Tune one class's perturbation: return it, (tokens, hidden), and its rows' mean drop in the last epoch.

        Args:
            rows: token ids of the clean rows that are predicted as the class.
            before: the class's probability of each, without the perturbation.
            index: the class.
            start: the word's own embedding.
            progress: a label for a progress bar.
        """
        classifier = self._fitted()
        vectors = torch.tensor(start, device=classifier.device, requires_grad=True)
        optimizer = torch.optim.AdamW([vectors], lr=self.learning_rate, weight_decay=0.0)
        rng = np.random.default_rng([self.seed, index])
        drops: list[float] = []
        with progress_bar(progress, "row", total=self.epochs * len(rows)) as moved:
            for _ in range(self.epochs):
                drops = []
                order = rng.permutation(len(rows))
                for first in range(0, len(rows), self.batch_size):
                    batch = order[first : first + self.batch_size]
                    logits = self._perturbed([rows[i] for i in batch], vectors.expand(len(batch), -1, -1))
                    drop = torch.tensor(before[batch], device=logits.device) - logits.double().softmax(1)[:, index]
                    # The paper's objective, both sides weighted equally: a drop between the bounds costs nothing.
                    loss = (self.low - drop).clamp(min=0).mean() + (drop - self.high).clamp(min=0).mean()
                    # Asking for this one gradient leaves none on the model's weights.
                    (vectors.grad,) = torch.autograd.grad(loss, [vectors])
                    optimizer.step()
                    drops += drop.tolist()
                    moved.update(len(batch))
        return vectors.detach().cpu().numpy(), float(np.mean(drops))

    def _perturbed(self, rows: list[list[int]], vectors: Tensor) -> Tensor:
        """Logits, (batch, K), of token ids with the word before each text, embedded as `vectors` (batch, tokens, hidden)."""
        classifier, place = self._fitted(), self.place_
        longer = [[*row[:place], *self.word_ids_, *row[place:]] for row in rows]
        inputs = classifier.inputs(longer)
        embeds = classifier.base.get_input_embeddings()(inputs["input_ids"])
        mask = inputs["attention_mask"]
        at = mask.argmax(dim=1, keepdim=True) + place + torch.arange(len(self.word_ids_), device=mask.device)
        embeds = embeds.scatter(1, at.unsqueeze(-1).expand_as(vectors), vectors.to(embeds.dtype))
        logits: Tensor = classifier.run(mask, inputs_embeds=embeds).logits
        return logits

    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        found = BatchScorer(self._fitted(), progress=progress).each(texts, self._minus_drop, ())
        return Scored(found.values, found.truncated, found.errors)

    @torch.inference_mode()
    def _minus_drop(self, rows: list[list[int]]) -> np.ndarray:
        classifier = self._fitted()
        before = softmax(classifier(**classifier.inputs(rows))["logits"].double().cpu().numpy(), axis=1)
        classes = before.argmax(axis=1)
        vectors = torch.from_numpy(self.perturbations_[classes]).to(classifier.device)
        after = softmax(self._perturbed(rows, vectors).double().cpu().numpy(), axis=1)
        each = np.arange(len(rows))
        change: np.ndarray = after[each, classes] - before[each, classes]
        # What could not be computed stays so, also where the class has no rows.
        return np.where(np.isfinite(change) & (self.tuned_on_[classes] == 0), self.score_range[1], change)

    def _save_own(self, folder: Path) -> dict[str, Any]:
        write_tensors(folder / TENSORS_FILE, {"perturbations": self.perturbations_})
        drops = [None if np.isnan(drop) else float(drop) for drop in self.drops_]
        return {"tuned_on": self.tuned_on_.tolist(), "drops": drops}

    def _restore(self, folder: Path, state: dict[str, Any]) -> None:
        classifier = self._fitted()
        classes = len(classifier.label_names)
        shape = (classes, len(self.word_ids_), self._own_embedding(classifier).shape[1])
        self.perturbations_ = read_tensors(folder / TENSORS_FILE, {"perturbations": shape})["perturbations"]
        self.tuned_on_ = read_numbers(folder, state, "tuned_on", classes).astype(int)
        self.drops_ = read_numbers(folder, state, "drops", classes)


def _place_of(classifier: Classifier, word: str) -> tuple[int, list[int]]:
    """Return the number of special tokens before a text, and the word's own token ids.

    Raises:
        ConfigError: the word has no tokens.
    """
    ids = classifier.tokenizer(word, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        raise ConfigError(f"the tokenizer finds nothing in the perturbation word {word!r}; choose another")
    marked = classifier.tokenizer(word, verbose=False)["input_ids"]
    places = [place for place in range(len(marked)) if marked[place : place + len(ids)] == ids]
    if not places:
        raise ConfigError(
            f"the tokenizer cuts {word!r} in another way between its special tokens; choose another word"
        )
    return places[0], ids
