"""How texts share a forward pass, found by trying.

A text's score may not depend on the texts beside it. Whether it does is decided by what a network does with padding, and
neither its name nor the names of its parts tell: some read the padding, some read the class off the last position,
some cannot be padded at all. So the same rows are read alone and together, and the first layout that gives the same
answers is used. Where none does, a text shares a pass with texts of its own length, or is read alone.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from poisonsieve.errors import UnsupportedError
from poisonsieve.models.grouping import groups_of_least_cost
from poisonsieve.models.opening import first_line
from poisonsieve.models.tokens import encode_each

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier

#: Texts that may share a pass: of any length, of one length, or none.
Company = Literal["any", "one length", "none"]

# From short to long, and longer than the windows of most networks that have some.
_PROBES = (
    "a",
    "the film was fine",
    "no, I would not buy this camera again: its battery is flat by noon",
    "it rained for 3 days; we read, slept and ate, and the children drew boats on every wall of the house. " * 2,
)
_OF_SPREAD = 1e-3  # a difference of this share of what tells texts apart can move a verdict
# In units of the last digit of fp32: sums in another order differ by some of them. In half precision they differ by what
# tells texts apart, and no text shares a pass.
_OF_ROUNDING = 64
_DIFFERENT = "it answers differently each time it reads a text, so verdicts would be drawn by chance"


@dataclass(frozen=True)
class Layout:
    """How rows are laid out for a network.

    Attributes:
        causal: a token sees only the tokens before it, so the class is read off the last one.
        embeds: rows are given as embeddings: a causal network then reads its last position, whatever ids a text holds.
        side: where padding goes.
        company: which texts may share a forward pass.
        states: number and width of the layers whose states it returns for every token; None: it does not.
    """

    causal: bool = False
    embeds: bool = False
    side: Literal["left", "right"] = "right"
    company: Company = "any"
    states: tuple[int, int] | None = None

    def groups(self, lengths: Sequence[int], most: int, device: str) -> list[range]:
        """Consecutive texts that share a pass; arguments as in `groups_of_least_cost`."""
        if self.company == "any":
            return groups_of_least_cost(lengths, most, device)
        step = most if self.company == "one length" else 1
        runs = [list(places) for _, places in groupby(range(len(lengths)), key=lengths.__getitem__)]
        return [
            range(start, min(start + step, run[-1] + 1)) for run in runs for start in range(run[0], run[-1] + 1, step)
        ]


def find_layout(classifier: Classifier) -> Layout:
    """The layout with the most company in which the answer to a text is that to the text alone.

    Costs some ten forward passes over a few short texts, and two over a text of the longest length.

    Raises:
        UnsupportedError: the network cannot be run on text, answers differently each time, or fails on texts of the
            length that it states.
    """
    with _at_rest(classifier):
        trial = _Trial(classifier)
        found = next((layout for layout in _ladder(trial) if trial.holds(layout)), None)
        if found is None:
            raise UnsupportedError(f"{classifier.named} cannot be used: {trial.reason}") from trial.error
        return found


def sample_rows(classifier: Classifier) -> list[list[int]]:
    """Token ids of some texts, short ones first, whatever its tokenizer knows."""
    return _Trial(classifier).rows


def _ladder(trial: _Trial) -> list[Layout]:
    states = trial.hidden_states()
    half = trial.classifier.base.dtype in (torch.float16, torch.bfloat16)
    return [layout for layout in _by_company(trial, states) if not half or layout.company == "none"]


def _by_company(trial: _Trial, states: list[Tensor] | None) -> list[Layout]:
    shape = None if states is None else (len(states), states[0].shape[-1])
    if states is not None and trial.is_causal(states[-1]):
        last = Layout(causal=True, embeds=True, side="left", states=shape)
        plain = Layout(causal=True, company="one length", states=shape)
        alone = [replace(layout, company="none") for layout in (last, plain)]
        return [last, replace(last, company="one length"), plain, *alone]
    right, left = Layout(states=shape), Layout(side="left", states=shape)
    return [right, left, replace(right, company="one length"), replace(right, company="none")]


class _Trial:
    """A few texts that a classifier reads in one layout after another.

    Attributes:
        reason: why the last layout did not hold.
        error: what the network raised, if it did.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.reason = "nothing was tried"
        self.error: Exception | None = None
        *rows, self.longest = self._tokens([*_PROBES, _PROBES[-1] * (2 + classifier.max_length // 16)])
        self.rows = [list(row) for row in dict.fromkeys(map(tuple, rows))]
        self._alone: dict[bool, Tensor | None] = {}

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        """Rows of the texts' tokens, and of other known ones where the tokenizer knows none of their words.

        A network may say the same of all texts that it knows no word of.
        """
        tokens, limit = self.classifier.tokenizer, self.classifier.max_length
        special = {*tokens.all_special_ids}
        known = [token for token in range(min(self._vocabulary(), 1000)) if token not in special] or [0]
        found = encode_each(tokens, texts, limit)[0].ids
        rows = [row or known * (1 + len(text) // 4) for row, text in zip(found, texts, strict=True)]
        strange = {tokens.unk_token_id, *(token for row in rows for token in row if token >= self._vocabulary())}
        return [
            [known[(17 * place) % len(known)] if token in strange else token for place, token in enumerate(row)]
            for row in (row[:limit] for row in rows)
        ]

    def _vocabulary(self) -> int:
        """How many tokens the network knows; characters, for one that has no table of them."""
        rows = self.classifier.embedding_rows
        return int(getattr(self.classifier.base.config, "vocab_size", sys.maxunicode)) if rows is None else rows

    def holds(self, layout: Layout) -> bool:
        """Whether texts are answered in this layout as they are alone.

        Raises:
            UnsupportedError: the network fails on a text of the length that it says it reads.
        """
        return self._holds_for_short(layout) and self._holds_for_longest(layout)

    def _holds_for_short(self, layout: Layout) -> bool:
        alone = self._answers_alone(layout)
        if alone is None:
            return False
        if not torch.isfinite(alone).any():
            return True  # there is nothing to compare, and each such row is rejected
        if layout.embeds and not self._same_as_ids(layout, alone):
            return False
        if layout.company == "none":
            self.reason = _DIFFERENT
            return _equal(self._answers(layout, self.rows, together=False), alone)
        if layout.company == "any":
            return _equal(self._answers(layout, self.rows, together=True), alone)
        twins = [(row, row[:1] + row[-2:0:-1] + row[-1:]) for row in self.rows if len(row) > 1]
        return all(
            _equal(self._answers(layout, twin, together=True), self._answers(layout, twin, together=False))
            for twin in twins
        )

    def _same_as_ids(self, layout: Layout, alone: Tensor) -> bool:
        """Whether a causal network answers embeddings as it does their ids, where ids alone can be asked."""
        if self.classifier.prompt_config is not None:
            return True
        # A text with the pad token in it is cut there when it is read by its ids: what embeddings are for.
        whole = [place for place, row in enumerate(self.rows) if self.classifier.pad_id not in row]
        plain = self._answers(
            Layout(causal=True, company="none"), [self.rows[place] for place in whole], together=False
        )
        return plain is None or _equal(plain, alone[whole])

    def _answers_alone(self, layout: Layout) -> Tensor | None:
        if layout.embeds not in self._alone:
            self._leave_out_short(layout)
            self._alone[layout.embeds] = self._answers(layout, self.rows, together=False)
        return self._alone[layout.embeds]

    def _leave_out_short(self, layout: Layout) -> None:
        """Try without texts too short for the network's windows: each such text is rejected, the others can be read."""
        readable = [row for row in self.rows if self._answers(layout, [row], together=True) is not None]
        if len(readable) > 1:
            self.rows = readable

    def _answers(self, layout: Layout, rows: Sequence[list[int]], *, together: bool) -> Tensor | None:
        """Logits of the rows, (rows, K); None where the network fails on them."""
        try:
            if together:
                return self._logits(layout, rows)
            return torch.cat([self._logits(layout, [row]) for row in rows]) if rows else None
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            kind = self.classifier.base.config.model_type
            self.error = error
            self.reason = f"a {kind} model fails on text alone ({type(error).__name__}: {first_line(error)})"
            return None

    def _logits(self, layout: Layout, rows: Sequence[list[int]]) -> Tensor:
        self.classifier.use(layout)
        logits: Tensor = self.classifier(**self.classifier.inputs(rows))["logits"]
        wanted = (len(rows), len(self.classifier.label_names))
        if logits.shape != wanted:
            raise ValueError(f"its head gives numbers of shape {tuple(logits.shape)} where {wanted} are right")
        return logits.cpu()

    def hidden_states(self) -> list[Tensor] | None:
        """What each layer says of the longest text, (tokens, width) each; None: not of every token, or not at all."""
        return self._states(self.rows[-1])

    def is_causal(self, last: Tensor) -> bool:
        """Whether the last layer's states of a text's first half stay as they are when its second half changes."""
        row = self.rows[-1]
        half = len(row) // 2
        changed = self._states(row[:half] + [(token + 1) % self._vocabulary() for token in row[half:]])
        return half > 0 and changed is not None and _equal(changed[-1][:half], last[:half], 0.0)

    def _states(self, row: list[int]) -> list[Tensor] | None:
        ids = torch.tensor([row], device=self.classifier.device)
        try:
            found = self.classifier.base(
                input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True
            ).hidden_states[1:]
        except Exception:
            return None  # an encoder-decoder, or what will fail again, and be reported, when it is to answer
        shapes = {tuple(states.shape) for states in found}
        of_every_token = len(shapes) == 1 and next(iter(shapes))[1] == len(row)
        return [states[0].cpu() for states in found] if of_every_token else None

    def _holds_for_longest(self, layout: Layout) -> bool:
        """The same beside a text of the longest length, where windows end and positions run out."""
        alone = self._answers(layout, [self.longest], together=True)
        if alone is None:
            raise UnsupportedError(
                f"{self.classifier.named} says that it reads {self.classifier.max_length} tokens, and fails on "
                f"{len(self.longest)}: {self.reason}; give a lower --max-length"
            )
        if not _equal(self._answers(layout, [self.longest], together=True), alone):
            raise UnsupportedError(f"{self.classifier.named} cannot be used: {_DIFFERENT}")
        short = self._answers_alone(layout)
        if layout.company != "any" or short is None:
            return True
        pair = self._answers(layout, [self.rows[0], self.longest], together=True)
        return _equal(pair, torch.cat([short[:1], alone]))


def _equal(answers: Tensor | None, alone: Tensor | None, of_spread: float = _OF_SPREAD) -> bool:
    """Whether answers differ by rounding alone, or by far less than texts differ from one another."""
    if answers is None or alone is None:
        return False
    finite = torch.isfinite(alone).all(dim=1)  # what is not is rejected, and says nothing of the others
    if not finite.any():
        return True
    answers, alone = answers[finite].double(), alone[finite].double()
    rounding = _OF_ROUNDING * torch.finfo(torch.float32).eps * float(alone.abs().max())
    spread = float((alone.amax(dim=0) - alone.amin(dim=0)).max())
    return float((answers - alone).abs().max()) <= max(of_spread * spread, rounding)


@contextlib.contextmanager
def _at_rest(classifier: Classifier) -> Iterator[None]:
    """Neither training nor drawing by chance, and afterwards as before."""
    training = classifier.training
    classifier.eval()
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        classifier.train(training)
