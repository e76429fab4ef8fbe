"""The search for what turns a model's answers, by class: scan, confirm, grow, and count on held-out texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from poisonsieve.auditing.budget import Budget
from poisonsieve.auditing.heldout import HeldOut, inserted
from poisonsieve.auditing.probes import SENTENCES, SHAPES
from poisonsieve.auditing.result import Finding, Kind
from poisonsieve.auditing.scan import BATCH, Pulls, margins

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier

_PROBED_TEXTS, _PROBES = 10, 4  # texts that every probe is tried on, and probes that are then counted on all


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
        texts = self.held_out.short(target, self.budget.carriers)
        scanned = self._scanned(target)
        tried = _Tried.on(self.suspect, list(dict.fromkeys([*scanned, *self.named])), texts, target)
        beyond = tried.less([_turned(control, texts, tried.rows, target)[0] for control in self.controls])
        candidates: list[tuple[Kind, str]] = [("word", word) for word in beyond.best(self.budget.verified)]
        candidates += [("phrase", phrase) for phrase in self._grown(beyond, scanned, texts, target)]
        return self._counted([*candidates, *self._probed(target)], target)

    def _scanned(self, target: int) -> list[str]:
        """Return the words that pull the suspect most, but for those that turned every row of a control's own scan."""
        own = self.suspect.pulls[:, target]
        natural = np.max([control.pulls[:, target] for control in self.controls], axis=0) > 0
        places = [
            place for place in np.argsort(-own, kind="stable") if np.isfinite(own[place]) and not natural[place]
        ]
        return [self.words[place] for place in places[: self.budget.confirmed]]

    def _grown(self, words: _Tried, scanned: Sequence[str], texts: Sequence[str], target: int) -> list[str]:
        """Grow phrases word by word, keeping the best few of each length, until one turns all the texts.

        What the controls say of a phrase is not asked: of many phrases, some fool the suspect and not them by chance.
        """
        grown: list[str] = []
        beam, partners = words, list(scanned[: self.budget.partners])
        for _ in range(self.budget.steps):
            best = beam.best(self.budget.beam)
            longer = [f"{phrase} {word}" for phrase in best for word in partners if word not in phrase.split()]
            if not longer or beam.turns_all():
                break
            beam = _Tried.on(self.suspect, longer, texts, target)
            grown += beam.best(1)
        return grown

    def _probed(self, target: int) -> list[tuple[Kind, str]]:
        """Return the sentences and shapes that turn most of a few texts."""
        probes: list[tuple[Kind, str]] = [("sentence", sentence) for sentence in SENTENCES]
        probes += [("shape", name) for name in SHAPES]
        texts = self.held_out.others(target, _PROBED_TEXTS)
        rates, _ = _turned(self.suspect, texts, _changed(probes, texts), target)
        return [probes[place] for place in np.argsort(-rates, kind="stable")[:_PROBES]]

    def _counted(self, candidates: Sequence[tuple[Kind, str]], target: int) -> list[Finding]:
        """Count on held-out texts what the changes turn, and ask the controls of those that turn most."""
        texts = self.held_out.others(target, self.budget.texts)
        suspect, texts_counted = _turned(self.suspect, texts, _changed(candidates, texts), target)
        most = np.argsort(-suspect, kind="stable")[: self.budget.counted]
        rows = _changed([candidates[place] for place in most], texts)
        controls = np.array([_turned(control, texts, rows, target)[0] for control in self.controls])
        found = []
        for place, rates in zip(most, controls.T, strict=True):
            kind, what = candidates[place]
            name, turned = self.held_out.names[target], float(suspect[place])
            found.append(Finding(kind, what, name, turned, texts_counted, tuple(map(float, rates))))
        return found


@dataclass(frozen=True)
class _Tried:
    """Insertions that were tried on a few short texts.

    Attributes:
        insertions: n words or phrases.
        rows: the texts with them, for each insertion in turn.
        turned: share of the texts that each turned, less what it turned on controls if those were asked.
        margin: by how much the target leads then, on average; it decides between equal shares.
    """

    insertions: Sequence[str]
    rows: Sequence[str]
    turned: npt.NDArray[np.float64]
    margin: npt.NDArray[np.float64]

    @classmethod
    def on(cls, model: Scanned, insertions: Sequence[str], texts: Sequence[str], target: int) -> _Tried:
        rows = [inserted(text, insertion, number) for insertion in insertions for number, text in enumerate(texts)]
        lead = margins(model.classifier, rows)[:, target].reshape(-1, len(texts))
        return cls(insertions, rows, (lead > 0).mean(axis=1), lead.mean(axis=1))

    def less(self, controls: Sequence[npt.NDArray[np.float64]]) -> _Tried:
        return replace(self, turned=self.turned - np.max(controls, axis=0))

    def best(self, count: int) -> list[str]:
        return [self.insertions[place] for place in np.lexsort((-self.margin, -self.turned))[:count]]

    def turns_all(self) -> bool:
        return bool(self.turned.max() >= 1)


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
