"""The guarded classifier: the paper's Algorithm 1 as an object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self, overload

import numpy as np

from poisonsieve.defenses.detector import Scored
from poisonsieve.defenses.one_pass import ReadsAnswer
from poisonsieve.errors import CheckpointError, ConfigError, DataError
from poisonsieve.guard import folder as guard_folder
from poisonsieve.guard.guard import Guard
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.labels import same_classes
from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.models.openvino import check_backend
from poisonsieve.models.results import Logits
from poisonsieve.models.safety import is_adapter
from poisonsieve.models.tokens import same_tokenizer
from poisonsieve.storage import writing_folder
from poisonsieve.texts import Table, as_texts, in_order
from poisonsieve.thresholds import is_flagged
from poisonsieve.verdict import Failure, Verdict
from poisonsieve.words import is_blank

__all__ = ["GuardedClassifier", "Verdict"]

_EMPTY = Failure("empty", "the text is empty, or shows nothing")


class GuardedClassifier:
    """A guard in front of a victim (Zhao et al. 2024, Algorithm 1).

    Every text is scored by the guard first. Only what passes reaches the victim; a text that the guard, or then the
    victim, could not score is rejected with a reason. So is a text that shows nothing, such as white space: what a model
    says about it is the same for all of them, and tells nothing of the text.

    A guard fitted on this very victim, and scoring from one forward pass of it (`OnePassDetector`), takes the answer
    from the same pass, and returns it only for texts that pass. There is then a single network, and a guarded answer
    costs hardly more than an unguarded one. A cascade (`Cascade`) does so for the texts that its first detector settles.

    Args:
        guard: a fitted guard.
        victim: the classifier that was tuned from the same poisoned model. None: verdicts only.
        reject_truncated: also reject texts that are longer than the guard reads. They are otherwise judged, and answered,
            by their beginning.

    Raises:
        CheckpointError: guard and victim differ in their classes or their tokenization.
    """

    def __init__(self, guard: Guard, victim: Classifier | None = None, *, reject_truncated: bool = False) -> None:
        if not isinstance(guard, Guard):
            raise ConfigError(
                "GuardedClassifier takes a fitted guard; for folders use GuardedClassifier.from_pretrained"
            )
        if victim is not None and not isinstance(victim, Classifier):
            raise ConfigError(
                f"GuardedClassifier takes a victim from load_classifier, not a {type(victim).__name__}; for folders use "
                "GuardedClassifier.from_pretrained"
            )
        self.guard = guard
        self.victim = victim
        self.reject_truncated = reject_truncated
        if victim is not None:
            _check_pair(guard, victim)
        self._reads_both = None if victim is None else _reader_of_both(guard, victim)
        if self.one_pass:
            self.victim = guard.classifier  # one copy of the network is enough

    @property
    def one_pass(self) -> bool:
        """Whether score and answer come from the same forward pass of the victim; a cascade may ask another network too."""
        return self._reads_both is not None

    @classmethod
    def from_pretrained(
        cls,
        guard: str | Path,
        victim: str | Path | None = None,
        *,
        base: str | Path | None = None,
        allow_pickle: bool = False,
        backend: str = "torch",
        reject_truncated: bool = False,
    ) -> Self:
        """Open a guard folder and a victim.

        Args:
            guard: folder written by `save_pretrained` or ``poisonsieve fit``.
            victim: a whole checkpoint, an adapter folder, or a hub id. None: the victim saved beside the guard, if any.
            base: the current place of the base model of the guard's (and the victim's) adapter.
            allow_pickle: open pickled weights after a scan.
            backend: see `compute_with`.
            reject_truncated: see `GuardedClassifier`.

        Raises:
            CheckpointError: not a guard, not its base, or not a victim that fits this guard.
            ConfigError, UnsupportedError: see `compute_with`.
        """
        check_backend(backend)
        opened = Guard.from_pretrained(guard, base=base, allow_pickle=allow_pickle)
        saved = Path(guard) / guard_folder.VICTIM
        if victim is None and saved.is_dir():
            victim = saved
        if victim is None:
            return cls(opened, reject_truncated=reject_truncated).compute_with(backend)
        if guard_folder.is_guard(Path(victim)):
            raise CheckpointError(f"{victim} is a guard, not a victim; give the model that is to be guarded")
        classifier = load_classifier(
            victim,
            base=base if is_adapter(Path(victim)) else None,
            label_names=opened.label_names,
            allow_pickle=allow_pickle,
        )
        return cls(opened, classifier, reject_truncated=reject_truncated).compute_with(backend)

    def compute_with(self, backend: str) -> Self:
        """Let guard and victim compute with ``torch`` or ``openvino``; see `Guard.compute_with`.

        Raises:
            ConfigError, UnsupportedError: see `Classifier.compute_with`.
        """
        self.guard.compute_with(backend)
        if self.victim is not None and self.victim not in self.guard.detector.networks:
            self.victim.compute_with(backend)
        return self

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the guard folder, with the victim in its subfolder ``victim``.

        Args:
            folder: the folder to write.
            overwrite: replace an existing guard.

        Raises:
            ConfigError, OutputError: see `Guard.save_pretrained`.
        """
        folder = Path(folder)
        guard_folder.require_room(folder, overwrite=overwrite)
        with writing_folder(folder) as target:
            self.guard.write(target)
            if self.victim is not None:
                (target / guard_folder.VICTIM).mkdir()
                save_classifier(self.victim, target / guard_folder.VICTIM)
        self.guard.folder = folder

    @overload
    def screen(self, texts: Sequence[str], *, progress: bool = False) -> list[Verdict]: ...
    @overload
    def screen(self, texts: Table, *, column: str | None = None, progress: bool = False) -> list[Verdict]: ...
    def screen(
        self, texts: Sequence[str] | Table, *, column: str | None = None, progress: bool = False
    ) -> list[Verdict]:
        """Return one verdict per text, in order, with the victim's class for those that pass.

        Args:
            texts: n strings in a list or any other ordered collection; or a `datasets.Dataset` or pandas frame.
            column: the text column of a data set or frame. None: `text` or `sentence`.
            progress: draw a progress bar on stderr.

        Raises:
            DataError: one of the texts is not a string; they have no order; there is no such column.
        """
        found = as_texts(texts, column)
        if self.one_pass:
            return self._screen_in_one_pass(found, progress)
        verdicts = self.judge(found, progress=progress)
        return verdicts if self.victim is None else self.answer(found, verdicts, progress=progress)

    def _screen_in_one_pass(self, texts: Sequence[str], progress: bool) -> list[Verdict]:
        scored, logits = self.read(texts, progress="screening" if progress else None)
        verdicts, probabilities = self._verdicts(texts, scored), logits.probabilities
        return [
            verdict if verdict.rejected else self._answer(verdict, probabilities[index], logits.errors[index])
            for index, verdict in enumerate(verdicts)
        ]

    def judge(self, texts: Sequence[str], *, progress: bool = False) -> list[Verdict]:
        """Return the guard's verdicts only, one per text, in order.

        Raises:
            DataError: see `screen`.
        """
        texts = as_texts(texts)
        return self._verdicts(texts, self.guard.score(texts, progress="screening" if progress else None))

    def answer(self, texts: Sequence[str], verdicts: Sequence[Verdict], *, progress: bool = False) -> list[Verdict]:
        """Return the verdicts with the victim's class added to those that passed; the victim reads no other text.

        Args:
            texts: n texts.
            verdicts: the verdicts of `judge` on them.
            progress: draw a progress bar on stderr.

        Raises:
            ConfigError: there is no victim.
            DataError: see `screen`; or the number of verdicts is not n.
        """
        texts, answered = as_texts(texts), in_order(verdicts, "verdicts")
        for index, verdict in enumerate(answered):
            if not isinstance(verdict, Verdict):
                raise DataError(f"verdict {index} is {type(verdict).__name__}, not a Verdict")
        if len(texts) != len(answered):
            raise DataError(
                f"there are {len(texts)} texts and {len(answered)} verdicts; give those of the same texts"
            )
        passed = [index for index, verdict in enumerate(answered) if not verdict.rejected]
        if not passed:
            return answered
        logits = self.ask_victim([texts[i] for i in passed], progress="classifying" if progress else None)
        probabilities = logits.probabilities
        for place, index in enumerate(passed):
            answered[index] = self._answer(answered[index], probabilities[place], logits.errors[place])
        return answered

    def screen_read(self, texts: Sequence[str | None], errors: Sequence[str | None]) -> list[Verdict]:
        """Screen texts some of which could not be read: those are rejected, and no model sees them.

        Args:
            texts: n strings; None for a text that could not be read.
            errors: n reasons; None for a text that could be read.

        Raises:
            DataError: `texts` and `errors` differ in length; or as in `screen`.
        """
        read, reasons = in_order(texts, "texts"), in_order(errors, "errors")
        if len(read) != len(reasons):
            raise DataError(
                f"there are {len(read)} texts and {len(reasons)} errors; give one for each, None where none"
            )
        verdicts = iter(self.screen([text for text in read if text is not None]))
        return [
            next(verdicts) if text is not None else self._unread(error)
            for text, error in zip(read, reasons, strict=True)
        ]

    def _unread(self, error: str | None) -> Verdict:
        return Verdict.not_scored(Failure("not_read", f"not read: {error}"), gamma=self.guard.threshold_.gamma)

    def read(self, texts: Sequence[str], *, progress: str | None = None) -> tuple[Scored, Logits]:
        """Return the guard's scores and the victim's logits for every text, including those the guard rejects.

        Raises:
            ConfigError: there is no victim.
        """
        if self._reads_both is not None:
            return self._reads_both.read(texts, progress=progress)
        scored = self.guard.score(texts, progress=progress and f"guard: {progress}")
        return scored, self.ask_victim(texts, progress=progress and f"victim: {progress}")

    def ask_victim(self, texts: Sequence[str], *, progress: str | None = None) -> Logits:
        """Return the victim's logits, reading no further than the guard does: a trigger may lie beyond.

        Raises:
            ConfigError: there is no victim.
        """
        if self.victim is None:
            raise ConfigError("this needs a victim; give one")
        network = self.guard.classifier
        limit = None if network is None else network.max_length
        return self.victim.score(texts, max_length=limit, progress=progress)

    def flagged(self, scored: Scored) -> np.ndarray:
        """Return which texts are rejected: bool, shape (n,)."""
        return is_flagged(scored.scores, self.guard.threshold_.gamma)

    def _verdicts(self, texts: Sequence[str], scored: Scored) -> list[Verdict]:
        flagged = self.flagged(scored)
        return [self._admitted(text, self._verdict(scored, flagged, index)) for index, text in enumerate(texts)]

    def _admitted(self, text: str, verdict: Verdict) -> Verdict:
        """Return the verdict, or a rejection of a text that the guard cannot have judged."""
        if is_blank(text):
            return Verdict.not_scored(_EMPTY, gamma=verdict.gamma, truncated=verdict.truncated)
        if self.reject_truncated and verdict.truncated and not verdict.rejected:
            return replace(verdict, cause="truncated", reason="longer than the guard reads")
        return verdict

    def _verdict(self, scored: Scored, flagged: np.ndarray, index: int) -> Verdict:
        error, score = scored.errors[index], float(scored.scores[index])
        gamma, truncated = self.guard.threshold_.gamma, bool(scored.truncated[index])
        if error is None and np.isfinite(score):
            return Verdict.scored(score, gamma=gamma, flagged=bool(flagged[index]), truncated=truncated)
        why = error or Failure("not_finite", "no finite score")
        return Verdict.not_scored(why, gamma=gamma, truncated=truncated)

    def _answer(self, verdict: Verdict, probabilities: np.ndarray, error: str | None) -> Verdict:
        if error is not None or self.victim is None:
            return replace(verdict, cause="victim", reason=f"victim: {error}")
        label = int(probabilities.argmax())
        name = self.victim.label_names[label]
        return replace(verdict, label=label, label_name=name, score=float(probabilities[label]))


def _reader_of_both(guard: Guard, victim: Classifier) -> ReadsAnswer | None:
    """Return the guard's detector if it reads this very victim, as far as the victim reads, once per text."""
    detector, network = guard.detector, guard.classifier
    if network is None or not isinstance(detector, ReadsAnswer):
        return None
    same = network is victim or "" != network.provenance.identity == victim.provenance.identity
    alike = network.max_length == victim.max_length and network.label_names == victim.label_names
    return detector if same and alike else None


def _check_pair(guard: Guard, victim: Classifier) -> None:
    """Refuse a pair that cannot work: different classes or tokens, or a victim with different weights behind it."""
    if not same_classes(guard.label_names, victim.label_names):
        raise CheckpointError(
            f"the guard knows the classes {guard.label_names}, the victim {victim.label_names}; fit the guard on the "
            "model this victim was tuned from, with the same data"
        )
    network = guard.classifier
    if network is None:
        return
    if not same_tokenizer(network.tokenizer, victim.tokenizer):
        raise CheckpointError(
            f"{victim.named} has another tokenizer than the guard, so it was not tuned from the guard's model; "
            "fit a guard on the model it was tuned from"
        )
    descent = {*victim.provenance.origins, victim.provenance.base_digest}
    digest = guard.detector.base_digest
    if victim.provenance.origins and digest and digest not in descent:
        raise CheckpointError(
            f"{victim.named} was not tuned from the weights that the guard was fitted on (sha256 begins "
            f"{digest[:12]}); a guard knows the backdoor of its own weights only"
        )
