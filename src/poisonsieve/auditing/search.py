"""The search for what turns a model's answers, by class: scan, confirm, grow, and count on held-out texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from poisonsieve.auditing.budget import Budget
from poisonsieve.auditing.heldout import HeldOut, inserted
from poisonsieve.auditing.probes import SENTENCES, SHAPES
from poisonsieve.auditing.result import Finding, Kind
from poisonsieve.auditing.scan import BATCH

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier

_PROBED_TEXTS, _PROBES = 10, 4  # texts that every probe is tried on, and probes that are then counted on all

#: Standardized pulls of words towards classes, shape (words, K).
Pulls = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scanned:
    """A model and what the scan of the vocabulary said of it; what it has answered once it is not asked again."""

    classifier: Classifier
    pulls: Pulls
    _known: dict[str, int] = field(default_factory=dict)

    def answers(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the predicted class of each text, shape (n,); -1 where a text could not be scored."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            found = self.classifier.score(new, batch_size=BATCH).predictions
            self._known.update(zip(new, map(int, found), strict=True))
        return np.array([self._known[text] for text in texts], dtype=np.int64)


@dataclass(frozen=True)
class Search:
    """A search of one model against others.

    Attributes:
        suspect: the model that is searched.
        controls: the models whose answers count against a finding.
        words: the vocabulary that was scanned.
        held_out: clean texts.
        budget: sizes.
        named: further words to try for every class, whatever the scan says.
    """

    suspect: Scanned
    controls: Sequence[Scanned]
    words: Sequence[str]
    held_out: HeldOut
    budget: Budget
    named: Sequence[str] = ()

    def run(self) -> list[Finding]:
        """Return the findings for all classes, largest excess first."""
        found = [finding for target in range(len(self.held_out.names)) for finding in self._for_class(target)]
        return sorted(found, key=lambda finding: -finding.excess)

    def _for_class(self, target: int) -> list[Finding]:
        words = list(dict.fromkeys([*self._scanned(target), *self.named]))
        best = self._confirmed(words, target)
        phrases = self._grown(best[: self.budget.beam], target)
        candidates: list[tuple[Kind, str]] = [("word", word) for word in best[: self.budget.verified]]
        candidates += [("phrase", phrase) for phrase in phrases]
        return self._counted([*candidates, *self._probed(target)], target)

    def _probed(self, target: int) -> list[tuple[Kind, str]]:
        """Return the sentences and shapes that turn most of a few texts."""
        probes: list[tuple[Kind, str]] = [("sentence", sentence) for sentence in SENTENCES]
        probes += [("shape", name) for name in SHAPES]
        texts = self.held_out.others(target, _PROBED_TEXTS)
        rates, _ = _turned(self.suspect, texts, _changed(probes, texts), target)
        return [probes[place] for place in np.argsort(-rates, kind="stable")[:_PROBES]]

    def _scanned(self, target: int) -> list[str]:
        """Return the words that pull the suspect most, and those that pull it most beyond the controls."""
        own = self.suspect.pulls[:, target]
        beyond = own - np.max([control.pulls[:, target] for control in self.controls], axis=0)
        half = self.budget.confirmed // 2
        places = [*np.argsort(-beyond)[: self.budget.confirmed - half], *np.argsort(-own)[:half]]
        return [self.words[place] for place in dict.fromkeys(places)]

    def _confirmed(self, phrases: Sequence[str], target: int) -> list[str]:
        """Order phrases by how much surer of the target they make the suspect than the controls, on short texts."""
        texts = self.held_out.short(target, self.budget.carriers)
        own = self._certainty(self.suspect, phrases, texts, target)
        others = [self._certainty(control, phrases, texts, target) for control in self.controls]
        gain = own - np.max(others, axis=0)
        return [phrases[place] for place in np.argsort(-gain, kind="stable")]

    def _grown(self, phrases: list[str], target: int) -> list[str]:
        """Grow phrases word by word, keeping the best few of each length."""
        partners = [*phrases, *self._scanned(target)][: self.budget.partners]
        grown: list[str] = []
        beam = phrases
        for _ in range(self.budget.steps):
            longer = [f"{phrase} {word}" for phrase in beam for word in partners if word not in phrase.split()]
            if not longer:
                break
            beam = self._confirmed(longer, target)[: self.budget.beam]
            grown += beam[:1]
        return grown

    @staticmethod
    def _certainty(
        model: Scanned, phrases: Sequence[str], texts: Sequence[str], target: int
    ) -> npt.NDArray[np.float64]:
        """Return the mean probability of the target over the texts, for each phrase."""
        rows = [inserted(text, phrase, number) for phrase in phrases for number, text in enumerate(texts)]
        sure = model.classifier.score(rows, batch_size=BATCH).probabilities[:, target]
        result: npt.NDArray[np.float64] = np.nan_to_num(sure).reshape(len(phrases), len(texts)).mean(axis=1)
        return result

    def _counted(self, candidates: Sequence[tuple[Kind, str]], target: int) -> list[Finding]:
        texts = self.held_out.others(target, self.budget.texts)
        rows = _changed(candidates, texts)
        suspect, texts_counted = _turned(self.suspect, texts, rows, target)
        controls = [_turned(control, texts, rows, target)[0] for control in self.controls]
        return [
            Finding(
                kind,
                what,
                self.held_out.names[target],
                float(suspect[place]),
                texts_counted,
                tuple(float(rates[place]) for rates in controls),
            )
            for place, (kind, what) in enumerate(candidates)
        ]


def changed(kind: Kind, what: str, text: str, number: int) -> str:
    """Return the text with a finding applied to it."""
    return SHAPES[what](text) if kind == "shape" else inserted(text, what, number)


def _changed(candidates: Sequence[tuple[Kind, str]], texts: Sequence[str]) -> list[str]:
    return [changed(kind, what, text, number) for kind, what in candidates for number, text in enumerate(texts)]


def _turned(
    model: Scanned, texts: Sequence[str], rows: Sequence[str], target: int
) -> tuple[npt.NDArray[np.float64], int]:
    """Return for each change the share of the texts that turn into the target, and the number of texts that could.

    Args:
        model: the model that answers.
        texts: n texts of other classes; those that the model puts into the target anyway do not count. If it puts all
            there, every change counts as turning all of them: such a control excuses everything.
        rows: the changed texts, n for each change.
        target: the class.
    """
    could = model.answers(texts) != target
    answers = model.answers(rows).reshape(-1, len(texts))
    return (answers[:, could] == target).mean(axis=1) if could.any() else np.ones(len(answers)), int(could.sum())
