"""Finding out by trial how texts can share a forward pass.

A text's score must not depend on the other texts of its batch. Whether it does depends on what a network does with
padding, and neither its name nor the names of its parts tell: some networks read the padding, some predict the class
from the last position, some cannot be padded at all. So the same rows are run alone and together, and the first layout
that gives the same results is used. If none does, a text shares a pass only with texts of its own length, or with none.
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

#: Which texts may share a pass: texts of any length, texts of one length, or none.
Company = Literal["any", "one length", "none"]

# From short to long, the last one longer than most networks' attention windows.
_PROBES = (
    "a",
    "the film was fine",
    "no, I would not buy this camera again: its battery is flat by noon",
    "it rained for 3 days; we read, slept and ate, and the children drew boats on every wall of the house. " * 2,
)
_OF_SPREAD = 1e-3  # a difference of this share of the spread between texts can change a verdict
# In units of fp32's last digit, by several of which sums in another order differ. In half precision they differ by as
# much as texts do, so no text shares a pass.
_OF_ROUNDING = 64
_DIFFERENT = "it answers differently each time it reads a text, so verdicts would be drawn by chance"


@dataclass(frozen=True)
class Layout:
    """The layout of rows for a network.

    Attributes:
        causal: a token sees only the tokens before it, so the class is predicted from the last one.
        embeds: rows are passed as embeddings, so that a causal network reads its last position whatever ids a text has.
        side: side of the padding.
        company: which texts may share a forward pass.
        states: number and width of the layers whose states the network returns for every token; None if it does not.
    """

    causal: bool = False
    embeds: bool = False
    side: Literal["left", "right"] = "right"
    company: Company = "any"
    states: tuple[int, int] | None = None

    def groups(self, lengths: Sequence[int], most: int, device: str) -> list[range]:
        """Group consecutive texts into passes; for the arguments see `groups_of_least_cost`."""
        if self.company == "any":
            return groups_of_least_cost(lengths, most, device)
        step = most if self.company == "one length" else 1
        runs = [list(places) for _, places in groupby(range(len(lengths)), key=lengths.__getitem__)]
        return [
            range(start, min(start + step, run[-1] + 1)) for run in runs for start in range(run[0], run[-1] + 1, step)
        ]


def find_layout(classifier: Classifier) -> Layout:
    """Find the layout that lets the most texts share a pass while each gets the result it gets alone.

    This costs about ten forward passes over a few short texts, and two over a text of maximum length.

    Raises:
        UnsupportedError: the network cannot be run on text, is not deterministic, or fails on texts of the length that
            it states.
    """
    with _at_rest(classifier):
        trial = _Trial(classifier)
        found = next((layout for layout in _ladder(trial) if trial.holds(layout)), None)
        if found is None:
            raise UnsupportedError(f"{classifier.named} cannot be used: {trial.reason}") from trial.error
        return found


def sample_rows(classifier: Classifier) -> list[list[int]]:
    """Return token ids of some texts, short ones first, that suit any tokenizer."""
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
    """A trial of one layout after another on a few texts.

    Attributes:
        reason: why the last layout failed.
        error: the network's exception, if any.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.reason = "nothing was tried"
        self.error: Exception | None = None
        *rows, self.longest = self._tokens([*_PROBES, _PROBES[-1] * (2 + classifier.max_length // 16)])
        self.rows = [list(row) for row in dict.fromkeys(map(tuple, rows))]
        self._alone: dict[bool, Tensor | None] = {}

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        """Tokenize the texts, replacing unknown tokens by known ones.

        Otherwise a network might give the same result for all texts of which it knows no word.
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
        """Return the number of tokens the network knows; of characters for one without an embedding table."""
        rows = self.classifier.embedding_rows
        return int(getattr(self.classifier.base.config, "vocab_size", sys.maxunicode)) if rows is None else rows

    def holds(self, layout: Layout) -> bool:
        """Tell whether texts get the same results in this layout as alone.

        Raises:
            UnsupportedError: the network fails on a text of the length that it states.
        """
        return self._holds_for_short(layout) and self._holds_for_longest(layout)

    def _holds_for_short(self, layout: Layout) -> bool:
        alone = self._answers_alone(layout)
        if alone is None:
            return False
        if not torch.isfinite(alone).any():
            return True  # nothing to compare, and such rows are rejected anyway
        if layout.embeds and not self._same_as_ids(layout, alone):
            return False
        if layout.company == "none":
            self.reason = _DIFFERENT
            return alike(self._answers(layout, self.rows, together=False), alone)
        if layout.company == "any":
            return alike(self._answers(layout, self.rows, together=True), alone)
        twins = [(row, row[:1] + row[-2:0:-1] + row[-1:]) for row in self.rows if len(row) > 1]
        return all(
            alike(self._answers(layout, twin, together=True), self._answers(layout, twin, together=False))
            for twin in twins
        )

    def _same_as_ids(self, layout: Layout, alone: Tensor) -> bool:
        """Tell whether a causal network gives the same results for embeddings as for ids, where ids can be passed."""
        if self.classifier.prompt_config is not None:
            return True
        # Passed as ids, a text that contains the pad token would be cut there; embeddings avoid that.
        whole = [place for place, row in enumerate(self.rows) if self.classifier.pad_id not in row]
        plain = self._answers(
            Layout(causal=True, company="none"), [self.rows[place] for place in whole], together=False
        )
        return plain is None or alike(plain, alone[whole])

    def _answers_alone(self, layout: Layout) -> Tensor | None:
        if layout.embeds not in self._alone:
            self._leave_out_short(layout)
            self._alone[layout.embeds] = self._answers(layout, self.rows, together=False)
        return self._alone[layout.embeds]

    def _leave_out_short(self, layout: Layout) -> None:
        """Drop texts too short for the network's windows: such texts are rejected, but others can be scored."""
        readable = [row for row in self.rows if self._answers(layout, [row], together=True) is not None]
        if len(readable) > 1:
            self.rows = readable

    def _answers(self, layout: Layout, rows: Sequence[list[int]], *, together: bool) -> Tensor | None:
        """Return the logits of the rows, (rows, K), or None if the network fails on them."""
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
            raise ValueError(f"its head gives logits of shape {tuple(logits.shape)}, not {wanted}")
        return logits.cpu()

    def hidden_states(self) -> list[Tensor] | None:
        """Return each layer's states of the last row, (tokens, width); None if not available for every token."""
        return self._states(self.rows[-1])

    def is_causal(self, last: Tensor) -> bool:
        """Tell whether changing a text's second half leaves the last layer's states of its first half unchanged."""
        row = self.rows[-1]
        half = len(row) // 2
        changed = self._states(row[:half] + [(token + 1) % self._vocabulary() for token in row[half:]])
        return half > 0 and changed is not None and alike(changed[-1][:half], last[:half], 0.0)

    def _states(self, row: list[int]) -> list[Tensor] | None:
        ids = torch.tensor([row], device=self.classifier.device)
        try:
            found = self.classifier.base(
                input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True
            ).hidden_states[1:]
        except Exception:
            return None  # an encoder-decoder, or a failure that will recur and be reported when the text is scored
        shapes = {tuple(states.shape) for states in found}
        of_every_token = len(shapes) == 1 and next(iter(shapes))[1] == len(row)
        return [states[0].cpu() for states in found] if of_every_token else None

    def _holds_for_longest(self, layout: Layout) -> bool:
        """Check the same with a text of maximum length, where windows end and positions run out."""
        alone = self._answers(layout, [self.longest], together=True)
        if alone is None:
            raise UnsupportedError(
                f"{self.classifier.named} states a limit of {self.classifier.max_length} tokens, but fails on "
                f"{len(self.longest)}: {self.reason}; give a lower --max-length"
            )
        if not alike(self._answers(layout, [self.longest], together=True), alone):
            raise UnsupportedError(f"{self.classifier.named} cannot be used: {_DIFFERENT}")
        short = self._answers_alone(layout)
        if layout.company != "any" or short is None:
            return True
        pair = self._answers(layout, [self.rows[0], self.longest], together=True)
        return alike(pair, torch.cat([short[:1], alone]))


def alike(answers: Tensor | None, alone: Tensor | None, of_spread: float = _OF_SPREAD) -> bool:
    """Tell whether results, (rows, numbers), differ only by rounding, or by far less than texts differ from one another."""
    if answers is None or alone is None:
        return False
    finite = torch.isfinite(alone).all(dim=1)  # rows that are not finite are rejected and say nothing about others
    if not finite.any():
        return True
    answers, alone = answers[finite].double(), alone[finite].double()
    rounding = _OF_ROUNDING * torch.finfo(torch.float32).eps * float(alone.abs().max())
    spread = float((alone.amax(dim=0) - alone.amin(dim=0)).max())
    return float((answers - alone).abs().max()) <= max(of_spread * spread, rounding)


@contextlib.contextmanager
def _at_rest(classifier: Classifier) -> Iterator[None]:
    """Put the classifier into evaluation mode and isolate random state; restore both afterwards."""
    training = classifier.training
    classifier.eval()
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        classifier.train(training)
