"""PSIM's copy judged by how rare its pass over a text is: how sure it is, and how it gets there.

The paper looks at the largest probability alone. A trigger that was trained to be unsure, or that lies in one row of the
embedding, leaves no confidence to see, although its path through the copy is plain; see
`poisonsieve.defenses.pass_rarity`.

The paper trains the copy once over the rows. How far it unlearns in that time differs from model to model, and where clean
text keeps its confidence, a trigger has nothing to stand out from. So the training is repeated, with labels drawn anew,
until the copy has lost its confidence in clean text that it was not trained on.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from poisonsieve.defenses.detector import Scored
from poisonsieve.defenses.network import confidence
from poisonsieve.defenses.pass_rarity import PassRarity
from poisonsieve.defenses.psim import PSIM
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.defenses.settings import AtLeastOne
from poisonsieve.errors import CheckpointError
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.results import Logits, PerText
from poisonsieve.models.scoring import BatchScorer
from poisonsieve.registry import register
from poisonsieve.tuning.training import last_checkpoint

#: The copy has unlearned enough when this share of held-out clean texts has a largest probability of at most `UNSURE`.
UNSURE_SHARE, UNSURE = 0.9, 0.8
#: Enough texts to tell.
_MOST_ASKED = 300


@register("defense", "psim-rarity")
class PSIMRarity(PSIM):
    """PSIM's copy, judged by its confidence and its hidden states together: how rare both are among clean texts.

    Both are read from one forward pass, each is converted to its rarity, and the sum is the score. A fifth of the clean
    rows is held out of the training for scales and rarities; a guard's calibration rows replace it for the rarities.

    The guard folder grows with layers x hidden size squared x 4 bytes beside the trained network.

    Args:
        method, learning_rate, epochs, batch_size, virtual_tokens, encoder_hidden, precision: see `PSIM`.
        rounds: the most times that the training is repeated; 1 trains once, as `PSIM` does. Fewer are enough once nine in
            ten held-out texts have a largest probability of at most 0.8.
        model, max_length, base, allow_pickle, seed: see `PSIM`.

    Attributes:
        passes_: `PassRarity` of the copy.
        rounds_: how many rounds it took.
        classifier_, training_, spec_: see `PSIM`.
    """

    name: ClassVar[str] = "psim-rarity"
    score_range: ClassVar[tuple[float, float]] = (0.0, np.inf)
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    rounds: AtLeastOne = 6
    passes_: PassRarity = field(init=False)
    rounds_: int = field(init=False)

    def plan(self, label_names: Sequence[str] | None) -> dict[str, Any]:
        """Return its settings, and how it will be trained; see the base class."""
        planned = super().plan(label_names)
        planned["guard"]["rounds"] = self.rounds
        return planned

    def _fit(self, rows: CleanRows, *, workdir: Path | None, progress: bool) -> None:
        trained_on, held_out = rows.hold_out(self.seed)
        classifier = self._open_to_train(trained_on)
        self._unlearn_enough(classifier, trained_on.texts, held_out, workdir, progress)
        self.classifier_ = classifier
        _, states = self._read(trained_on.texts, "reading clean rows" if progress else None)
        self.passes_ = PassRarity.learn(
            states,
            self._read(held_out, "reading held-out rows" if progress else None),
            of="the unlearned copy",
            remedy="train it less (--lr, --epochs), or try another tuning (--method)",
        )

    def _unlearn_enough(
        self,
        classifier: Classifier,
        texts: list[str],
        held_out: Sequence[str],
        workdir: Path | None,
        progress: bool,
    ) -> None:
        """Train round after round, until the copy is unsure of the held-out texts or the rounds are used up.

        A stopped run goes on in the round that it had reached: the state at a round's end is kept until the next has ended.
        """
        asked = held_out[:_MOST_ASKED]
        seconds, resumed_from = 0.0, 0
        for number in range(_reached(workdir), self.rounds + 1):
            folder = workdir and workdir / f"round-{number}"
            label = f"fitting the guard, round {number} of at most {self.rounds}" if progress else None
            seed = self.seed if number == 1 else (self.seed, number)
            trained = self._unlearn(classifier, texts, seed, folder, label)
            seconds += trained.seconds
            resumed_from = (
                resumed_from or trained.resumed_from
            )  # only the first round of a run goes on from another's
            self.training_ = replace(trained, seconds=seconds, resumed_from=resumed_from)
            self.rounds_ = number
            if workdir:
                shutil.rmtree(workdir / f"round-{number - 1}", ignore_errors=True)
            if _is_unsure_of(classifier, asked):
                return

    def score_calibration(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """Score a guard's calibration rows, which become the reference if at least 20 of them have a score."""
        logits, states = self._read(texts, progress)
        return Scored(self.passes_.rate_reference(logits, states), logits.truncated, logits.errors)

    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        logits, states = self._read(texts, progress)
        return Scored(self.passes_.rate(logits, states), logits.truncated, logits.errors)

    def _read(self, texts: Sequence[str], progress: str | None) -> tuple[Logits, PerText]:
        return BatchScorer(self._fitted(), progress=progress).logits_and_states(texts)

    def save(self, folder: Path) -> dict[str, Any]:
        """The trained network, and what was learned from its passes; see the base class."""
        state = super().save(folder)
        self.passes_.save(folder)
        return {**state, "rounds": self.rounds, "rounds_taken": self.rounds_}

    @classmethod
    def open(cls, folder: Path, state: dict[str, Any], *, base: str | Path | None, allow_pickle: bool) -> Self:
        """The trained network on the base that it was trained on, and what was learned from it; see the base class."""
        opened = super().open(folder, state, base=base, allow_pickle=allow_pickle)
        opened.passes_ = PassRarity.open(folder, opened._fitted())
        try:  # a guard saved before there were rounds was trained once
            opened.rounds, opened.rounds_ = (int(state.get(key, 1)) for key in ("rounds", "rounds_taken"))
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{folder} is damaged: {error}; fit the guard again") from None
        return opened


def _is_unsure_of(classifier: Classifier, texts: Sequence[str]) -> bool:
    largest = confidence(classifier.score(list(texts))).scores
    found = largest[np.isfinite(largest)]
    return len(found) > 0 and float(np.quantile(found, UNSURE_SHARE)) <= UNSURE


def _reached(workdir: Path | None) -> int:
    """Return the number of the round in which a stopped run was, or 1."""
    begun = [int(folder.name.removeprefix("round-")) for folder in workdir.glob("round-*")] if workdir else []
    ended = [number for number in begun if workdir and last_checkpoint(workdir / f"round-{number}")]
    return max(ended, default=1)
