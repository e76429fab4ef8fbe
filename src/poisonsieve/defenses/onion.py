"""ONION (Qi et al. 2021, "ONION: A Simple and Effective Defense Against Textual Backdoor Attacks").

A word that does not belong makes a sentence unlikely. A word's suspicion is the fall in perplexity when the word is
removed (Section 3, Equation 1). Words whose suspicion reaches the bar are removed before the victim reads the text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from poisonsieve.building import check_arguments
from poisonsieve.config import Source
from poisonsieve.data.files import is_encodable
from poisonsieve.defenses.rewriter import Prepared, Rewriter
from poisonsieve.defenses.settings import AtLeastOne, Fraction
from poisonsieve.environment import versions
from poisonsieve.errors import CheckpointError, ConfigError, DataError
from poisonsieve.metrics import clean_accuracy
from poisonsieve.models.lm import CausalLM, load_causal_lm
from poisonsieve.models.safety import weights_digest
from poisonsieve.models.sources import resolve
from poisonsieve.parsing import read_json
from poisonsieve.progress import progress_bar
from poisonsieve.registry import register
from poisonsieve.storage import canonical_hash, read_json_if_there, require_free, write_json, writing_folder
from poisonsieve.texts import as_texts

if TYPE_CHECKING:
    import datasets

    from poisonsieve.models.classifier import Classifier
    from poisonsieve.progress import Bar

STATE_FILE = "onion.json"
FORMAT_VERSION = 1
#: Shares of the dev words that the candidate bars remove; dense near zero, where the choice falls.
_SHARES = (np.arange(100) / 100) ** 2
_AT_A_TIME = 256  # texts kept per file, and so the most work that a kill can cost
_ROUNDING = 1e-9  # a drop of exactly the allowed size is allowed


@register("defense", "onion")
class ONION(Rewriter):
    """Removes words without which a language model finds the text more likely.

    Words are separated by white space. Perplexity is exp of the mean negative log-likelihood of the text's tokens
    after the tokenizer's begin token; without a begin token, the first token gets no likelihood. The model reads the
    text with single spaces between its words. A text that loses no word is returned unchanged.

    Words that cannot be judged stay, with suspicion NaN: the word of a one-word text; both words of a two-word text
    if there is no begin token, since a lone token would be left; words past `max_length`, which do not affect the
    suspicions of the others either; and the words of a text that is not valid Unicode. If all words reach the bar,
    the least suspicious stays (the first of equals), so that no text becomes empty.

    Args:
        lm: the language model: packaged alias, folder or hub id of a causal model.
        bar: words with at least this suspicion are removed; a difference in perplexity, so it depends on `lm`. None:
            `fit` finds it.
        max_ca_drop: clean accuracy that `fit` may sacrifice, as a fraction.
        max_length: number of tokens of a text that are judged, begin token included; the model's limit if that is
            lower. Words that the victim does not read need no judging.
        batch_tokens: tokens per forward pass; affects speed and memory only.
        precision: ``fp32``, or ``bf16``: about twice as fast on machines with bf16 arithmetic. On 487 words of SST-2
            with SmolLM2, suspicions in bf16 correlate at 0.999 with those in fp32, and about one word in a hundred
            falls on the other side of a bar.
        allow_pickle: open pickled weights after a scan.

    Attributes:
        bar_: the bar that `fit` found.
        fit_: results of `fit`: `rows`, `dev_ca` with nothing removed, `dev_ca_rewritten`, `removed_share` of the
            words.
    """

    name: ClassVar[str] = "onion"
    unprepared: ClassVar[frozenset[str]] = frozenset({"bar", "max_ca_drop", "batch_tokens", "allow_pickle"})

    lm: Source = field(default="smollm2", kw_only=False)
    bar: Annotated[float, Field(allow_inf_nan=False)] | None = None
    max_ca_drop: Fraction = 0.01
    max_length: Annotated[int, Field(ge=2)] = 512
    batch_tokens: AtLeastOne = 512
    precision: Literal["fp32", "bf16"] = "fp32"
    allow_pickle: bool = False

    def fit(self, dataset: datasets.Dataset, *, victim: Classifier, progress: bool = False) -> Self:
        """Find the lowest bar whose rewrites cost the victim at most `max_ca_drop` on these rows.

        Candidate bars remove between none and nearly all of the words. Each lies between two neighbouring suspicions,
        so that no word of these rows lies on the bar. If `bar` is given, it is used.

        Args:
            dataset: clean held-out rows, columns `text` and `label`; never triggered rows, never test rows.
            victim: the classifier that will read the rewritten texts.
            progress: draw a progress bar on stderr.

        Raises:
            ConfigError: a setting is out of range.
            DataError: there are no rows, or none with words to judge.
            CheckpointError, UnsafeWeightsError, HubError, UnsupportedError: `lm` cannot be used.
        """
        check_arguments(self)
        if self.bar is not None:
            self.bar_ = float(self.bar)
            return self
        texts, labels = list(dataset["text"]), np.asarray(dataset["label"])
        suspicions = self.suspicions(texts, progress="suspicions of dev words" if progress else None)
        bars = candidate_bars(suspicions)
        rewrites = [
            [without(text, found, bar) for text, found in zip(texts, suspicions, strict=True)] for bar in bars
        ]
        # Most bars leave most texts as the previous bar did, so let the victim read each wording once.
        wordings = list(dict.fromkeys([*texts, *(text for row in rewrites for text in row)]))
        answers = victim.score(wordings, progress="the victim's answers" if progress else None).predictions
        prediction_of = dict(zip(wordings, answers.tolist(), strict=True))
        accuracies = [float(clean_accuracy([prediction_of[text] for text in row], labels)) for row in rewrites]
        before = float(clean_accuracy([prediction_of[text] for text in texts], labels))
        # The highest candidate removes nothing, so at least one is allowed.
        chosen = max(
            index for index, after in enumerate(accuracies) if before - after <= self.max_ca_drop + _ROUNDING
        )
        self.bar_ = float(bars[chosen])
        words = np.concatenate(suspicions)
        self.fit_ = {
            "rows": len(texts),
            "dev_ca": before,
            "dev_ca_rewritten": accuracies[chosen],
            "removed_share": float(np.mean(words >= self.bar_)),
        }
        return self

    def suspicions(self, texts: Sequence[str], *, progress: str | None = None) -> list[np.ndarray]:
        """Return how much the perplexity falls when a word is removed, for each word of each text.

        The result equals that of a loop that passes the text and each shortened text through the model one at a time:
        in fp32, each perplexity is within a relative 1e-4 of the loop's. The other texts and their order change only
        the last digits, by about 1e-6 relative to the perplexity.

        Args:
            texts: n strings.
            progress: label of a progress bar on stderr; no bar without one.

        Returns:
            n float64 arrays, one number per word of ``text.split()``; NaN for a word that cannot be judged.

        Raises:
            DataError: `texts` contains something other than strings.
            ConfigError, CheckpointError, UnsafeWeightsError, HubError, UnsupportedError: see `fit`.
        """
        return self._suspicions(texts, None, progress)[0]

    def _suspicions(
        self, texts: Sequence[str], workdir: Path | None, progress: str | None
    ) -> tuple[list[np.ndarray], float]:
        """Return `suspicions`, and the seconds spent on those that a killed run left in `workdir`."""
        texts, seconds = as_texts(texts), 0.0
        check_arguments(self)
        prepared = getattr(self, "prepared_", {})
        found = {text: np.array(prepared[text], dtype=np.float64) for text in texts if text in prepared}
        new = {text: np.full(len(text.split()), np.nan) for text in texts if text not in found}
        found.update(new)
        judged = [text for text, words in new.items() if len(words) > 1 and is_encodable(text)]
        judged.sort(key=lambda text: len(text.split()))  # texts of like length share forward passes
        with progress_bar(progress, "text", total=len(judged)) as meter:
            for start in range(0, len(judged), _AT_A_TIME):
                file = None if workdir is None else workdir / f"suspicions-{start}.json"
                answers, kept_seconds = self._kept_or_judged(judged[start : start + _AT_A_TIME], file, meter)
                found.update(answers)
                seconds += kept_seconds
        return [found[text].copy() for text in texts], seconds

    def _kept_or_judged(
        self, texts: Sequence[str], file: Path | None, meter: Bar
    ) -> tuple[dict[str, np.ndarray], float]:
        """Return some texts' suspicions, from `file` with the seconds they took; if missing, compute and keep them."""
        if file is None:
            return self._judge(texts, meter), 0.0
        key = canonical_hash([list(texts), self.reads(), self.max_length, self.precision])
        kept = read_json_if_there(file)
        if kept.get("key") == key:
            meter.update(len(texts))
            found = {text: np.array(each, float) for text, each in zip(texts, kept["suspicions"], strict=True)}
            return found, float(kept["seconds"])
        started = time.perf_counter()
        found = self._judge(texts, meter)
        seconds = time.perf_counter() - started
        write_json(file, {"key": key, "suspicions": [_to_json(found[text]) for text in texts], "seconds": seconds})
        return found, 0.0

    def _judge(self, texts: Sequence[str], meter: Bar) -> dict[str, np.ndarray]:
        """Return the suspicions of some texts of two or more words, by text."""
        found = {text: np.full(len(text.split()), np.nan) for text in texts}
        losses = self._lm.mean_nll(self._rows_of(texts, meter), batch_tokens=self.batch_tokens)
        for text, loss in zip(texts, losses, strict=True):
            perplexity = np.exp(loss)
            found[text][: len(loss) - 1] = perplexity[0] - perplexity[1:]
        return found

    def prepare(self, texts: Sequence[str], *, workdir: Path | None = None, progress: str | None = None) -> Prepared:
        """Compute the suspicions: they depend on the text alone, and are nearly all of the work. None stands for NaN.

        They are kept in `workdir` a few hundred texts at a time, with the seconds they took.
        """
        started, texts = time.perf_counter(), as_texts(texts)
        found, kept_seconds = self._suspicions(texts, workdir, progress)
        by_text = {text: _to_json(each) for text, each in zip(texts, found, strict=True)}
        return Prepared(by_text, time.perf_counter() - started + kept_seconds)

    def _known_rewrites(self) -> Mapping[str, str]:
        """Return nothing: prepared work holds suspicions, which become rewrites only with the bar."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return its arguments, the bar in force, the results of `fit`, and the sha256 of the language model."""
        return {**super().facts(), "bar_in_force": self._bar(), "fit": getattr(self, "fit_", None)}

    def reads(self) -> dict[str, Any]:
        """Return the sha256 of the language model's weights, without opening the model."""
        expected = getattr(self, "_expected", "")
        return {"lm_sha256": expected or weights_digest(resolve(self.lm, allow_pickle=self.allow_pickle))}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write settings and bar to a folder, whole or not at all; the language model is not copied.

        Raises:
            ConfigError: there is no bar yet, or the folder exists and is not empty.
            OutputError: the folder cannot be written.
        """
        state = {
            "format_version": FORMAT_VERSION,
            "defense": self.name,
            **self.facts(),
            "version": versions("poisonsieve")["poisonsieve"],
        }
        require_free(Path(folder))
        with writing_folder(Path(folder)) as target:
            write_json(target / STATE_FILE, state)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, lm: str | Path | None = None, allow_pickle: bool = False) -> Self:
        """Open a folder that `save_pretrained` wrote; the language model is compared with the saved digest on first use.

        Args:
            folder: a folder with a file `onion.json`.
            lm: the language model, if it was moved.
            allow_pickle: open pickled weights after a scan.

        Raises:
            CheckpointError: there is no such folder, another version wrote it, or it is damaged.
        """
        file = Path(folder) / STATE_FILE
        state = read_json(file)
        if state.get("format_version") != FORMAT_VERSION or state.get("defense") != cls.name:
            raise CheckpointError(
                f"{file} is of another format than {FORMAT_VERSION}; update poisonsieve or fit again"
            )
        try:
            settings = {key: state[key] for key in ("bar", "max_ca_drop", "max_length", "batch_tokens", "precision")}
            opened = cls(lm or state["lm"], **settings, allow_pickle=allow_pickle)
            opened.bar_, opened._expected = float(state["bar_in_force"]), str(state["lm_sha256"])
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise CheckpointError(f"{file} is damaged ({error}); fit again") from None
        if state.get("fit") is not None:
            opened.fit_ = state["fit"]
        return opened

    def _rewrite(self, texts: list[str], *, progress: str | None) -> list[str]:
        bar = self._bar()
        found = self.suspicions(texts, progress=progress)
        return [without(text, suspicion, bar) for text, suspicion in zip(texts, found, strict=True)]

    def _rows_of(self, texts: Sequence[str], meter: Bar) -> Iterator[list[list[int]]]:
        """Yield, for each text, the token rows of the text and of the text without each word that can be judged."""
        limit = min(self.max_length, self._lm.limit)
        for text in texts:
            meter.update()
            words = text.split()
            words = words[: _words_that_fit(self._lm, words, limit)]
            rows = _rows(self._lm, words)
            while max(map(len, rows)) > limit:  # without a word, its neighbours may split into more tokens
                words = words[:-1]
                rows = _rows(self._lm, words)
            yield rows if len(words) > 1 else rows[:1]

    def _bar(self) -> float:
        if hasattr(self, "bar_"):
            return float(self.bar_)
        if self.bar is None:
            raise ConfigError("onion has no bar yet; call fit with clean dev rows and the victim, or give bar")
        return float(self.bar)

    @cached_property
    def _lm(self) -> CausalLM:
        lm = load_causal_lm(self.lm, precision=self.precision, allow_pickle=self.allow_pickle)
        expected = getattr(self, "_expected", "")
        if expected and lm.digest != expected:
            raise CheckpointError(
                f"{self.lm} is not the language model the bar was fitted with (sha256 begins {expected[:12]}); give that "
                "one (lm), or fit again"
            )
        return lm


def _to_json(suspicions: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in suspicions]


def without(text: str, suspicions: np.ndarray, bar: float) -> str:
    """Return the text without the words whose suspicion reaches the bar; the least suspicious stays if all do.

    Args:
        text: a text with as many words as there are suspicions.
        suspicions: float64, shape (words,); a word with NaN stays.
        bar: in perplexity.
    """
    removed = suspicions >= bar
    if not removed.any():
        return text
    if removed.all():
        removed[np.argmin(suspicions)] = False
    return " ".join(word for word, gone in zip(text.split(), removed, strict=True) if not gone)


def candidate_bars(suspicions: Sequence[np.ndarray]) -> np.ndarray:
    """Return bars to try, in falling order: the first removes nothing, the last nearly every word that was judged.

    Raises:
        DataError: no word was judged.
    """
    values = np.concatenate([*suspicions, np.empty(0)])
    values = np.unique(values[np.isfinite(values)])[::-1]
    if not len(values):
        raise DataError("onion needs clean dev rows of two words or more to find its bar")
    above = values[0] + 1e-3 * max(1.0, abs(values[0]))
    between = (values[:-1] + values[1:]) / 2
    bars = np.concatenate([[above], between])
    chosen: np.ndarray = bars[np.unique((_SHARES * len(bars)).astype(int))]
    return chosen


def _words_that_fit(lm: CausalLM, words: Sequence[str], limit: int) -> int:
    """Return the largest number of leading words with at most `limit` tokens, by bisection."""

    def fits(count: int) -> bool:
        return len(lm.encode([" ".join(words[:count])])[0]) <= limit

    if fits(len(words)):
        return len(words)
    low, high = 0, len(words) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _rows(lm: CausalLM, words: Sequence[str]) -> list[list[int]]:
    """Return the token rows of all words, and of the words without each one; each is tokenized as a whole."""
    shortened = (" ".join([*words[:index], *words[index + 1 :]]) for index in range(len(words)))
    return lm.encode([" ".join(words), *shortened])
