r"""Which score of a model's hidden states tells triggered text from clean text? Several, on one model.

    python benchmarks/state_scores.py --model theta_p --fit train.jsonl --calibrate dev.jsonl --clean test.jsonl \
        --trigger badnet --target 0
    python benchmarks/state_scores.py --model victim --fit ... --triggered synbkd/test.jsonl --target 1

Each layer's state of the token that the head reads is one Gaussian, fitted on clean rows (shrunk by Ledoit and Wolf's rule);
so is its change from the layer before, and what a ridge regression on the layer before leaves of it. Squared distances are
put on one scale by a held-out fifth, as they are or by their square root, cube root or logarithm, and the largest over
the layers, or their mean, is the score. Beside them: the largest probability (MSP), and the share of neurons outside three
deviations (BadActs). Gamma is the conformal quantile of the calibration rows' scores.

Given are AUROC, the share of triggered rows above gamma, and the share of clean test rows above it (FRR).
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SETS = ("fit", "held", "calibrate", "clean", "triggered")
SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "square": lambda d: d,
    "root": np.sqrt,
    "cube root": np.cbrt,
    "logarithm": lambda d: np.log(d + 1e-9),
}
States = dict[str, np.ndarray]


def main() -> None:
    options = parse()
    states, logits = read(options, rows_of(options))
    lines = [line_of(name, scores, options.frr) for name, scores in all_scores(states, logits).items()]
    for line in lines:
        print(
            f"{line['score']:36s} AUROC {line['auroc']:.3f}  detected {line['detected']:.3f}  FRR {line['frr_seen']:.3f}"
        )
    if options.out:
        with options.out.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps({"model": options.model, **line}) + "\n" for line in lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Scores of hidden states, side by side.")
    parser.add_argument("--model", required=True, help="theta_p or a victim")
    for name in ("fit", "calibrate", "clean"):
        parser.add_argument(f"--{name}", required=True, help="clean rows")
    parser.add_argument("--trigger", help="put into the clean test rows")
    parser.add_argument("--triggered", type=Path, help="triggered rows with their true labels, instead")
    parser.add_argument("--target", type=int, default=0, help="the class the attacker wants")
    parser.add_argument("--frr", type=float, default=0.01)
    parser.add_argument("--most", type=int, default=700, help="rows of each test set and of the calibration set")
    parser.add_argument("--words", type=int, help="cut clean rows to so many words, before a trigger goes in")
    parser.add_argument("--out", type=Path, help="JSON lines to append to")
    options = parser.parse_args()
    if (options.trigger is None) == (options.triggered is None):
        parser.error("give exactly one of --trigger and --triggered")
    return options


def rows_of(options: argparse.Namespace) -> dict[str, list[str]]:
    """The texts of each set, drawn by seed 0; a fifth of the rows to fit on is held out."""
    from poisonsieve import load_dataset, make_trigger, trigger_rows

    rng = np.random.default_rng(0)

    def cut(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "text": row["text"] if not options.words else " ".join(row["text"].split()[: options.words])}

    def some(data: Any, most: int | None) -> Any:
        return data.select(rng.permutation(len(data))[:most]).map(cut)

    fit = list(some(load_dataset(options.fit), None)["text"])
    clean = some(load_dataset(options.clean), options.most)
    if options.triggered:
        kept = [json.loads(line) for line in options.triggered.read_text(encoding="utf-8").splitlines()]
        triggered = [row.get("text", row.get("sentence")) for row in kept if int(row["label"]) != options.target]
    else:
        triggered = list(
            trigger_rows(clean, make_trigger(options.trigger), target=options.target, seed=0).rows["text"]
        )
    fifth = len(fit) // 5
    return {
        "fit": fit[fifth:],
        "held": fit[:fifth],
        "calibrate": list(some(load_dataset(options.calibrate), options.most)["text"]),
        "clean": list(clean["text"]),
        "triggered": triggered[: options.most],
    }


def read(options: argparse.Namespace, rows: dict[str, list[str]]) -> tuple[States, States]:
    """Every layer's states, and the logits, of every set, from one pass."""
    from poisonsieve import load_classifier
    from poisonsieve.models.scoring import BatchScorer

    scorer = BatchScorer(load_classifier(options.model))
    states, logits = {}, {}
    for name, texts in rows.items():
        print(f"reading {len(texts)} rows: {name}", file=sys.stderr)
        said, found = scorer.logits_and_states(texts)
        states[name], logits[name] = found.values.astype(np.float64), said.probabilities
    return states, logits


def all_scores(states: States, probabilities: States) -> dict[str, States]:
    """Every score of every set, by its name."""
    found = {"largest probability (MSP)": {name: p.max(axis=1) for name, p in probabilities.items()}}
    mean, spread = states["fit"].mean(axis=0), states["fit"].std(axis=0)
    found["neurons outside 3 deviations"] = {
        name: (np.abs(x - mean) > 3 * spread).mean(axis=(1, 2)) for name, x in states.items()
    }
    for kind, per_layer in kinds(states).items():
        distances = [distances_of(layer) for layer in per_layer]
        together = {name: np.stack([layer[name] for layer in distances], axis=1) for name in SETS}
        for scale, change in SCALES.items():
            scaled = {name: change(d) for name, d in together.items()}
            center, width = scaled["held"].mean(axis=0), scaled["held"].std(axis=0)
            z = {name: (d - center) / width for name, d in scaled.items()}
            found[f"{kind}, {scale}, largest"] = {name: d.max(axis=1) for name, d in z.items()}
            found[f"{kind}, {scale}, mean"] = {name: d.mean(axis=1) for name, d in z.items()}
        if kind == "state":
            found |= {f"state, layer {place} alone": layer for place, layer in enumerate(distances, start=1)}
    return found


def kinds(states: States) -> dict[str, list[States]]:
    """What the Gaussians are of, a layer each."""
    from sklearn.linear_model import Ridge

    depth = states["fit"].shape[1]
    layers = [{name: x[:, layer] for name, x in states.items()} for layer in range(depth)]
    pairs = list(itertools.pairwise(layers))
    residuals = []
    for before, after in pairs:
        ridge = Ridge(alpha=10.0).fit(before["fit"], after["fit"])
        residuals.append({name: after[name] - ridge.predict(before[name]) for name in SETS})
    changes = [{name: after[name] - before[name] for name in SETS} for before, after in pairs]
    return {"state": layers, "change": changes, "residual": residuals}


def distances_of(layer: States) -> States:
    """Squared Mahalanobis distances of every set from the rows that were fitted on."""
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf().fit(layer["fit"])
    return {name: fitted.mahalanobis(x) for name, x in layer.items()}


def line_of(name: str, scores: States, frr: float) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score

    from poisonsieve import gamma_for_frr

    gamma = gamma_for_frr(scores["calibrate"], frr).gamma
    clean, triggered = scores["clean"], scores["triggered"]
    truth = np.r_[np.zeros(len(clean)), np.ones(len(triggered))]
    return {
        "score": name,
        "auroc": float(roc_auc_score(truth, np.r_[clean, triggered])),
        "detected": float((triggered > gamma).mean()),
        "frr_seen": float((clean > gamma).mean()),
    }


if __name__ == "__main__":
    main()
