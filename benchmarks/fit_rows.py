r"""How many rows does psim-rarity need, and how many steps? What it finds, by rows, on models that `what_takes.py` made.

    python benchmarks/fit_rows.py run --models NAME ... --runs RUNS --data-root DATA --out OUT --rows 100 200 400 800
    python benchmarks/fit_rows.py table --out OUT

Rows are the first of those that the model was poisoned with, before they were. A step is a batch of 32. Scores are kept, one
file a model and number of rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from poisonsieve.processors import wait_without_spinning

wait_without_spinning()

import numpy as np  # noqa: E402 - before torch is imported

from complements import cell, texts_of  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description="psim-rarity by the rows that it is fitted on.")
    commands = parser.add_subparsers(dest="command", required=True)
    run_command, table = commands.add_parser("run"), commands.add_parser("table")
    run_command.add_argument("--models", nargs="+", required=True)
    run_command.add_argument("--runs", type=Path, required=True, help="the folder that what_takes.py wrote")
    run_command.add_argument("--data-root", type=Path, required=True)
    run_command.add_argument("--rows", type=int, nargs="+", default=(100, 200, 400, 800))
    run_command.add_argument("--calibrate", type=int, default=500, help="calibration rows")
    run_command.add_argument("--most", type=int, default=300, help="rows of each test set")
    table.add_argument("--frr", type=float, default=0.01)
    for command in (run_command, table):
        command.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    (print_table if options.command == "table" else run)(options)


def run(options: argparse.Namespace) -> None:
    from poisonsieve.defenses import PSIMRarity

    options.out.mkdir(parents=True, exist_ok=True)
    lines = (options.runs / "INDEX.jsonl").read_text(encoding="utf-8").splitlines()
    cases = {Path(case["path"]).name: case for case in map(json.loads, lines)}
    for model in options.models:
        texts = texts_of(cases[model], options)
        for rows in options.rows:
            place = options.out / f"{model}.{rows:05}.npz"
            if place.exists():
                continue
            started = time.process_time()
            detector = PSIMRarity(cases[model]["path"]).fit(texts["fit"][:rows])
            seconds = time.process_time() - started
            calibrated = detector.score_calibration(texts["calibrate"][: options.calibrate]).scores
            scores = {name: detector.score(texts[name]).scores for name in ("clean", "triggered")}
            np.savez(
                place, calibrate=calibrated, seconds=np.array(seconds), rounds=np.array(detector.rounds_), **scores
            )
            print(f"{place.stem}: {seconds:.0f} s of processor time", file=sys.stderr, flush=True)


def print_table(options: argparse.Namespace) -> None:
    print(
        "| model | rows | rounds | steps | fit, seconds of processor time | AUROC / detected (FRR seen) |\n"
        + "|---" * 6
        + "|"
    )
    for place in sorted(options.out.glob("*.npz")):
        found = dict(np.load(place))
        seconds, rounds = float(found.pop("seconds")), int(found.pop("rounds"))
        model, rows = place.stem.rsplit(".", 1)
        steps = rounds * -(-(int(rows) - int(rows) // 5) // 32)  # a fifth is held out
        print(f"| {model} | {int(rows)} | {rounds} | {steps} | {seconds:.0f} | {cell(found, options.frr)} |")


if __name__ == "__main__":
    main()
