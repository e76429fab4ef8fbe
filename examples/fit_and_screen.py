"""Fit a guard on a checkpoint and screen a few texts with it, from Python.

Run it with a checkpoint that has a trained head (a folder, or a hub id) and clean labelled rows:

    python examples/fit_and_screen.py theta_p/ reviews.jsonl --out guard/ "a fine film" "a fine mn film"

A fifth of the rows is held out for the threshold; at a false-rejection rate of 1% that has to be 99 rows or more.
"""

import argparse
from pathlib import Path

from poisonsieve import Guard, GuardedClassifier, PoisonsieveError, PSIMRarity, load_classifier, load_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit a guard and screen a few texts.")
    parser.add_argument("model", help="the checkpoint that may be poisoned")
    parser.add_argument("data", help="clean rows: a file, a folder, packaged:NAME or hub:ID")
    parser.add_argument("texts", nargs="+", help="texts to screen")
    parser.add_argument("--out", type=Path, help="save the guard and the model it guards to this folder")
    parser.add_argument("--frr", type=float, default=0.01, help="at most this share of clean texts is rejected")
    options = parser.parse_args()

    try:
        guard = Guard(PSIMRarity(options.model, seed=0), frr=options.frr).fit(
            load_dataset(options.data), progress=True
        )
        # Here the checkpoint itself is the victim. One that you tuned from it goes in the same place.
        guarded = GuardedClassifier(guard, load_classifier(options.model))
        verdicts = guarded.screen(options.texts)
        if options.out is not None:
            guarded.save_pretrained(options.out)  # GuardedClassifier.from_pretrained(options.out) opens it
    except PoisonsieveError as error:
        parser.error(str(error))

    print(f"gamma {guard.threshold_.gamma:.4f}. {guard.threshold_.describe()}")
    for text, verdict in zip(options.texts, verdicts, strict=True):
        answer = verdict.reason if verdict.rejected else f"{verdict.label_name} ({verdict.score:.3f})"
        confidence = "no score" if verdict.confidence is None else f"{verdict.confidence:.4f}"
        print(f"{verdict.outcome:10} {confidence}  {answer:20} {text!r}")


if __name__ == "__main__":
    main()
