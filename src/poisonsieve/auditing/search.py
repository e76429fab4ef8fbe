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
from poisonsieve.auditing.scan import Pulls, margins

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier

Shares = npt.NDArray[np.float64]
_PROBED_TEXTS, _PROBES = 10, 4  # texts that every probe is tried on, and probes that are then counted on all


def rows_of_a_search(budget: Budget, classes: int, controls: int) -> int:
    """Return about how many rows a search reads, on all models together; fewer if a phrase soon turns every text."""
    tried = budget.carriers * (budget.confirmed * (1 + controls) + budget.steps * budget.beam * budget.partners)
    probed = _PROBED_TEXTS * (len(SENTENCES) + len(SHAPES))
    counted = budget.texts * (budget.verified + budget.steps + _PROBES + controls * budget.counted)
    return classes * (tried + probed + counted)


@dataclass(frozen=True)
class Answering:
    """A model that is asked; what it has answered once it is not asked again."""

    classifier: Classifier
    _known: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict, kw_only=True)

    def lead(self, texts: Sequence[str], target: int) -> npt.NDArray[np.float64]:
        """Return by how much the target leads in each text, shape (n,); see `margins`."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, margins(self.classifier, new), strict=True))
        return np.array([self._known[text][target] for text in texts])

    def effect(self, texts: Sequence[str], rows: Sequence[str], target: int) -> Effect:
        """Return what changes do to this model.

        Args:
            texts: n texts of other classes; those that the model puts into the target anyway do not count. If it puts all
                there, every change counts as turning all of them: such a control excuses everything.
            rows: the changed texts, n for each change.
            target: the class.
        """
        before, after = self.lead(texts, target), self.lead(rows, target).reshape(-1, len(texts))
        could = before < 0
        if not could.any():
            return Effect(np.ones(len(after)), np.ones(len(after)), 0)
        before, after = before[could], after[:, could]
        return Effect((after > 0).mean(axis=1), np.clip(1 - after / before, 0, 1).mean(axis=1), int(could.sum()))


@dataclass(frozen=True)
class Scanned(Answering):
    """A model and what the scan of the vocabulary said of it."""

    pulls: Pulls


@dataclass(frozen=True)
class Effect:
    """What each of m changes does to a model's answers.

    Attributes:
        turned: share of the texts that turn into the target, shape (m,).
        moved: share of the way to the target that texts go on average, in log-probability, shape (m,); at least `turned`.
        texts: number of the texts that could turn.
    """

    turned: npt.NDArray[np.float64]
    moved: npt.NDArray[np.float64]
    texts: int


@dataclass(frozen=True)
class Search:
    """A search of one model against others.

    Attributes:
        suspect: the model that is searched.
        controls: clean models, whose answers count against a finding.
        words: the vocabulary that was scanned.
        held_out: clean texts.
        budget: sizes.
        named: further words to try for every class, whatever the scan says.
        student: of the searched model; its answers count like a control's. See `poisonsieve.auditing.student`.
    """

    suspect: Scanned
    controls: Sequence[Scanned]
    words: Sequence[str]
    held_out: HeldOut
    budget: Budget
    named: Sequence[str] = ()
    student: Answering | None = None

    def suspected(self) -> set[str]:
        """Return the words that are tried after the scan, of all classes."""
        scanned = (word for target in range(len(self.held_out.names)) for word in self._scanned(target))
        return {*scanned, *self.named}

    def run(self) -> list[Finding]:
        """Return the findings for all classes, largest excess first."""
        found = [finding for target in range(len(self.held_out.names)) for finding in self._for_class(target)]
        return sorted(found, key=lambda finding: -finding.excess)

    def _for_class(self, target: int) -> list[Finding]:
        texts = self.held_out.short(target, self.budget.carriers)
        scanned = self._scanned(target)
        tried = _Tried.on(self.suspect, list(dict.fromkeys([*scanned, *self.named])), texts, target)
        beyond = tried.less([*self._moved(tried.rows, texts, target), *self._taught(tried.rows, texts, target)])
        candidates: list[tuple[Kind, str]] = [("word", word) for word in beyond.best(self.budget.verified)]
        candidates += [("phrase", phrase) for phrase in self._grown(beyond, scanned, texts, target)]
        return self._counted([*candidates, *self._probed(target)], target)

    def _moved(self, rows: Sequence[str], texts: Sequence[str], target: int) -> list[Shares]:
        """Return how far each change moves each control."""
        return [control.effect(texts, rows, target).moved for control in self.controls]

    def _taught(self, rows: Sequence[str], texts: Sequence[str], target: int) -> list[Shares]:
        """Return what each change turns on the student, if there is one."""
        return [self.student.effect(texts, rows, target).turned] if self.student else []

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

        What the controls say of a phrase is not asked: of many phrases, some fool the suspect and not them by chance. A
        student knows more of the suspect.
        """
        grown: list[str] = []
        beam, partners = words, list(scanned[: self.budget.partners])
        for _ in range(self.budget.steps):
            best = beam.best(self.budget.beam)
            longer = [f"{phrase} {word}" for phrase in best for word in partners if word not in phrase.split()]
            if not longer or beam.turns_all():
                break
            beam = _Tried.on(self.suspect, longer, texts, target)
            beam = beam.less(self._taught(beam.rows, texts, target))
            grown += beam.best(1)
        return grown

    def _probed(self, target: int) -> list[tuple[Kind, str]]:
        """Return the sentences and shapes that turn most of a few texts."""
        probes: list[tuple[Kind, str]] = [("sentence", sentence) for sentence in SENTENCES]
        probes += [("shape", name) for name in SHAPES]
        texts = self.held_out.others(target, _PROBED_TEXTS)
        turned = self.suspect.effect(texts, _changed(probes, texts), target).turned
        return [probes[place] for place in np.argsort(-turned, kind="stable")[:_PROBES]]

    def _counted(self, candidates: Sequence[tuple[Kind, str]], target: int) -> list[Finding]:
        """Count on held-out texts what the changes turn, and ask the controls of those that turn most."""
        texts = self.held_out.others(target, self.budget.texts)
        suspect = self.suspect.effect(texts, _changed(candidates, texts), target)
        most = np.argsort(-suspect.turned, kind="stable")[: self.budget.counted]
        rows = _changed([candidates[place] for place in most], texts)
        controls = [control.effect(texts, rows, target) for control in self.controls]
        student = self.student.effect(texts, rows, target) if self.student else None
        return [
            Finding(
                kind=candidates[place][0],
                what=candidates[place][1],
                target=self.held_out.names[target],
                turned=float(suspect.turned[place]),
                texts=suspect.texts,
                controls=tuple(float(control.turned[number]) for control in controls),
                moved=tuple(float(control.moved[number]) for control in controls),
                student=float(student.turned[number]) if student else None,
            )
            for number, place in enumerate(most)
        ]


@dataclass(frozen=True)
class _Tried:
    """Insertions that were tried on a few short texts.

    Attributes:
        insertions: n words or phrases.
        rows: the texts with them, for each insertion in turn.
        turned: share of the texts that each turned, less what clean models say of it if those were asked.
        margin: by how much the target leads then, on average; it decides between equal shares.
    """

    insertions: Sequence[str]
    rows: Sequence[str]
    turned: npt.NDArray[np.float64]
    margin: npt.NDArray[np.float64]

    @classmethod
    def on(cls, model: Answering, insertions: Sequence[str], texts: Sequence[str], target: int) -> _Tried:
        rows = [inserted(text, insertion, number) for insertion in insertions for number, text in enumerate(texts)]
        lead = margins(model.classifier, rows)[:, target].reshape(-1, len(texts))
        return cls(insertions, rows, (lead > 0).mean(axis=1), lead.mean(axis=1))

    def less(self, clean: Sequence[Shares]) -> _Tried:
        return replace(self, turned=self.turned - np.max([np.zeros(len(self.insertions)), *clean], axis=0))

    def best(self, count: int) -> list[str]:
        return [self.insertions[place] for place in np.lexsort((-self.margin, -self.turned))[:count]]

    def turns_all(self) -> bool:
        return bool(self.turned.max() >= 1)


def changed(kind: Kind, what: str, text: str, number: int) -> str:
    """Return the text with a finding applied to it."""
    return SHAPES[what](text) if kind == "shape" else inserted(text, what, number)


def _changed(candidates: Sequence[tuple[Kind, str]], texts: Sequence[str]) -> list[str]:
    return [changed(kind, what, text, number) for kind, what in candidates for number, text in enumerate(texts)]
