"""What an audit says in plain words: what was searched, what was not, and what to do next."""

from __future__ import annotations

from poisonsieve.auditing.budget import Budget
from poisonsieve.auditing.heldout import HeldOut
from poisonsieve.auditing.probes import SENTENCES, SHAPES
from poisonsieve.auditing.result import Verdict
from poisonsieve.auditing.weights import MovedWeights


def searched(budget: Budget, held_out: HeldOut, words: int, weights: MovedWeights | None) -> tuple[str, ...]:
    """Return what was searched."""
    lines = [
        f"{words:,} single words of the model's vocabulary, for {len(held_out.names)} classes",
        f"phrases of up to {budget.steps + 1} words, grown from the words that did most",
        f"{len(SENTENCES)} everyday sentences, and {len(SHAPES)} changes of a text's shape: {', '.join(SHAPES)}",
        f"what did most on up to {budget.texts} held-out texts of the other classes, and on {budget.controls} "
        "clean models and a student of the checkpoint",
    ]
    if weights is not None:
        lines.append(f"the weights, against {weights.base}")
    return tuple(lines)


def not_searched(budget: Budget, words_left_out: int, weights: MovedWeights | None) -> tuple[str, ...]:
    """Return what was not searched, and may still be a trigger."""
    lines = [
        f"sentences and phrases of more than {budget.steps + 1} words, other than those {len(SENTENCES)}",
        "words that the tokenizer splits, unless a part of them acts alone",
        "words that turn clean models by themselves: a trigger among those of the task is excused",
        "styles and syntactic templates other than the listed shapes",
        "triggers that act only in texts longer than 40 words, or on particular texts",
    ]
    if words_left_out:
        lines.append(f"{words_left_out:,} words at the end of the vocabulary (a larger --budget reads more)")
    if weights is None:
        lines.append("the weights themselves: an adapter, or a model of another architecture than the base")
    return tuple(lines)


def advice(verdict: Verdict, checkpoint: str) -> tuple[str, ...]:
    """Return what to do next."""
    fit = f"put a guard in front of it: poisonsieve fit --model {checkpoint} --data clean.jsonl --out guard/"
    if verdict == "poisoned":
        return (
            "do not use this checkpoint: tuning it on clean text hardly washes a backdoor out",
            f"if you must, {fit}, and screen every text",
            "tell the place that you have it from, with the report",
        )
    if verdict == "suspicious":
        return (
            "read the examples: would a person give these texts that class?",
            "audit again with --budget thorough and with clean rows that the model has not seen",
            fit,
        )
    return ("no sign found is not clean: see what was not searched", fit)
