"""What a threshold costs and lets through that keeps to its false-rejection rate with some confidence.

    python benchmarks/surer_thresholds.py sst2-fdk cr-fdk      # folders that `poisonsieve compare --out` wrote
    python benchmarks/surer_thresholds.py sst2-fdk --frr 0.02 --json

Nothing is trained or scored: each detector's calibration scores and its scores of the test rows lie in its cell, and
every threshold is found anew from the calibration scores alone. Given are, for each detector, the cells in which at most
1% of triggered rows pass and at most 1 point of CA is lost, and the means of both.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from poisonsieve.bench.results import read_results
from poisonsieve.metrics import attack_success_rate, clean_accuracy
from poisonsieve.thresholds import frr_to_be_sure, gamma_for_frr, is_flagged

GOAL = 0.01 + 1e-9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--frr", type=float, default=0.01)
    parser.add_argument("--confidence", type=float, nargs="*", default=[0.9, 0.95, 0.99])
    parser.add_argument("--target", type=int, default=0)
    parser.add_argument("--without", nargs="*", default=[], help="attacks to leave out, by how their names begin")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = defaultdict(list)
    for folder in args.folders:
        for seed, attack, detector, stages in cells(folder):
            if detector != "none" and not attack.startswith(tuple(args.without) or "\0"):
                undefended = next(rest for *where, rest in cells(folder) if where == [seed, attack, "none"])
                found[detector].append(outcomes(stages, answers(undefended["answers"]), args))
    rows = [summary(detector, np.array(each), args.confidence) for detector, each in sorted(found.items())]
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        print(f"{row['detector']}, {row['cells']} cells")
        for rule in row["rules"]:
            print(
                f"  {rule['rule']:24} within the goal in {rule['within']}; CA lost {100 * rule['ca_lost']:.2f} points, "
                f"{100 * rule['most_lost']:.2f} at most; ASR {rule['asr']:.4f}, {rule['most_passed']:.4f} at most"
            )
    return 0


def cells(folder):
    """(seed, attack, detector, the folders of its stages) of every cell with a calibrated guard, or with no defence."""
    (results,) = read_results(folder)
    for cell in results["cells"]:
        stages = {stage["kind"]: folder / stage["folder"] for stage in cell.get("stages", [])}
        if "guard" in stages or (cell["defense"] == "none" and stages):
            yield cell["seed"], cell["attack"], cell["defense"], stages


def answers(stage):
    """The per-row outcomes in a stage's folder: clean rows, triggered rows."""
    rows = pd.read_parquet(stage / "rows.parquet")
    return rows[rows["set"] == "clean"], rows[rows["set"] != "clean"]


def outcomes(stages, undefended, args):
    """(CA lost, ASR) at the rate that was asked for, then at each confidence."""
    calibration = json.loads((stages["guard"] / "calibration.json").read_text())["scores"]
    (clean, triggered), (plain, attacked) = answers(stages["scores"]), undefended
    before = clean_accuracy(plain["prediction"], plain["label"]).value
    rates = [args.frr, *(frr_to_be_sure(args.frr, len(calibration), each) for each in args.confidence)]
    return [
        (
            before
            - clean_accuracy(plain["prediction"], plain["label"], is_flagged(clean["confidence"], gamma)).value,
            attack_success_rate(
                attacked["prediction"], attacked["label"], args.target, is_flagged(triggered["confidence"], gamma)
            ).value,
        )
        for gamma in (gamma_for_frr(calibration, rate).gamma for rate in rates)
    ]


def summary(detector, each, confidences):
    rules = ["on average", *(f"with {100 * confidence:g}% confidence" for confidence in confidences)]
    return {
        "detector": detector,
        "cells": len(each),
        "rules": [
            {
                "rule": rule,
                "within": int(((each[:, at, 0] <= GOAL) & (each[:, at, 1] <= GOAL)).sum()),
                "ca_lost": float(each[:, at, 0].mean()),
                "asr": float(each[:, at, 1].mean()),
                "most_lost": float(each[:, at, 0].max()),
                "most_passed": float(each[:, at, 1].max()),
            }
            for at, rule in enumerate(rules)
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
