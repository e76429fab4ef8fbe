r"""Which detectors close each other's gaps? Several, and unions of them, on models that `what_takes.py` has poisoned.

    python benchmarks/complements.py run --runs RUNS --data-root DATA --out OUT
    python benchmarks/complements.py table --out OUT
    python benchmarks/complements.py cascade --out OUT --first mahalanobis --second psim-rarity

Each detector is fitted on the model's clean training rows and scores clean dev rows, which set gamma, clean test rows, and
triggered test rows. A union takes the largest rarity over its members, as `combined` does. Scores are kept, one file a model
and detector, so that another union costs nothing and a stopped run goes on. Given are AUROC, the share of triggered rows
above gamma at FRR 0.01 (split-conformal: the mean over calibrations), and the share of clean test rows above it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SINGLE = ("msp", "dan", "mahalanobis", "rarity", "psim", "psim-rarity")
UNIONS = (("psim", "dan"), ("psim", "mahalanobis"), ("psim-rarity", "mahalanobis"))
SETS = ("calibrate", "clean", "triggered")
#: Rows of the settings that a what_takes run does not hold: where gamma is set, and the test rows.
ROWS = {
    "sst2-fdk": ("{data}/sst2/dev.jsonl", "{data}/sst2/test.jsonl"),
    "sst2-syn": ("{data}/sst2/dev.jsonl", "{data}/sst2/test.jsonl"),
    "cr-fdk": ("{data}/cr/dev.jsonl", "{data}/cr/test.jsonl"),
    "ag_news-fdk": ("{data}/ag_news/dev.jsonl", "{data}/ag_news/test.jsonl"),
    "topics": ("packaged:topics#dev", "packaged:topics#test"),
    "product-reviews": ("packaged:product-reviews#dev", "packaged:product-reviews#test"),
}
#: Triggered rows that no rule makes.
TRIGGERED = {"sst2-syn": "{data}/sst2/synbkd/test.jsonl"}


def main() -> None:
    options = parse()
    if options.command == "run":
        for case in cases(options.runs):
            run(case, options)
    elif options.command == "table":
        print_table(options)
    else:
        print_cascades(options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Detectors and unions of them, side by side.")
    commands = parser.add_subparsers(dest="command", required=True)
    run_command = commands.add_parser("run")
    run_command.add_argument("--runs", type=Path, required=True, help="the folder that what_takes.py wrote")
    run_command.add_argument("--data-root", type=Path, required=True)
    run_command.add_argument("--most", type=int, default=600, help="rows of each test set")
    run_command.add_argument("--only", nargs="*", help="names of models; default: all that took or came near")
    table = commands.add_parser("table")
    cascade = commands.add_parser("cascade")
    cascade.add_argument("--first", default="mahalanobis")
    cascade.add_argument("--second", default="psim-rarity")
    cascade.add_argument(
        "--clear", type=float, nargs="*", default=(0.5, 0.7, 0.8, 0.9), help="shares that are settled"
    )
    for command in (table, cascade):
        command.add_argument("--frr", type=float, default=0.01)
    for command in (run_command, table):
        command.add_argument("--detectors", nargs="*", default=SINGLE)
    for command in (run_command, table, cascade):
        command.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def cases(runs: Path) -> Iterator[dict[str, Any]]:
    """The newest run of each model whose dev ASR is at least 90%."""
    lines = (runs / "INDEX.jsonl").read_text(encoding="utf-8").splitlines()
    newest = {Path(case["path"]).name: case for case in map(json.loads, lines)}
    yield from (case for case in newest.values() if case["dev_asr"] >= 0.9)


def run(case: dict[str, Any], options: argparse.Namespace) -> None:
    name = Path(case["path"]).name
    if options.only and name not in options.only:
        return
    texts = None
    for detector in options.detectors:
        place = options.out / f"{name}.{detector}.npz"
        if place.exists():
            continue
        texts = texts or texts_of(case, options)
        started = time.perf_counter()
        scores = scores_of(detector, case, texts)
        options.out.mkdir(parents=True, exist_ok=True)
        np.savez(place, **scores)
        print(f"{name} {detector}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def texts_of(case: dict[str, Any], options: argparse.Namespace) -> dict[str, list[str]]:
    """Clean training rows, dev rows, clean and triggered test rows, drawn by seed 0."""
    from poisonsieve import load_dataset, make_trigger, trigger_rows
    from poisonsieve.data import labels_of

    rng = np.random.default_rng(0)
    dev, test = (load_dataset(place.format(data=options.data_root)) for place in ROWS[case["setting"]])
    clean = test.select(rng.permutation(len(test)))
    own = TRIGGERED.get(case["setting"])
    if own is None:
        triggered = trigger_rows(clean, make_trigger(case["trigger"]), target=case["target"], seed=0).rows
    else:
        made_elsewhere = load_dataset(own.format(data=options.data_root), label_names=labels_of(test))
        triggered = made_elsewhere.filter(lambda row: row["label"] != case["target"])
    # Posts are long, and were cut before the trigger went in; see what_takes.py.
    most, words = options.most, 60 if case["setting"] == "topics" else None
    cut = [" ".join(text.split()[:words]) for text in clean["text"]]
    return {
        "fit": list(load_dataset(case["rows"]["train"])["text"]),
        "calibrate": [" ".join(text.split()[:words]) for text in dev["text"]],
        "clean": cut[:most],
        "triggered": list(triggered["text"])[:most],
    }


def scores_of(detector: str, case: dict[str, Any], texts: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Scores of every set; those of the calibration rows as a guard takes them."""
    from poisonsieve.guard.guard import make_guard

    made = make_guard(detector, model=case["path"]).detector
    made.fit(texts["fit"])
    calibrated = made.score_calibration(texts["calibrate"]).scores
    return {"calibrate": calibrated, **{name: made.score(texts[name]).scores for name in ("clean", "triggered")}}


def print_table(options: argparse.Namespace) -> None:
    from poisonsieve.defenses.rarity import Rarity

    found: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for place in sorted(options.out.glob("*.npz")):
        model, detector = place.stem.rsplit(".", 1)
        found.setdefault(model, {})[detector] = dict(np.load(place))
    columns = [(name,) for name in options.detectors] + list(UNIONS)
    print("| model | " + " | ".join(" + ".join(names) for names in columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for model, scores in found.items():
        rarities = {}
        for detector, sets in scores.items():
            rarity = Rarity(sets["calibrate"])
            rarities[detector] = {
                "calibrate": rarity.of_its_own(sets["calibrate"]),
                **{name: rarity(sets[name]) for name in ("clean", "triggered")},
            }
        cells = [
            cell({part: np.max([rarities[n][part] for n in names], axis=0) for part in SETS}, options.frr)
            if all(n in scores for n in names)
            else ""
            for names in columns
        ]
        print(f"| {model} | " + " | ".join(cells) + " |")


def print_cascades(options: argparse.Namespace) -> None:
    """The second alone, and asked about what the first leaves, with the share of clean test rows that it is asked about."""
    names = [f"{options.second} alone", *(f"{clear:.0%} settled" for clear in options.clear)]
    print(f"| model | {options.first} alone | " + " | ".join(names) + " |")
    print("|---" * (2 + len(names)) + "|")
    for place in sorted(options.out.glob(f"*.{options.second}.npz")):
        model = place.stem.rsplit(".", 1)[0]
        first, second = (
            dict(np.load(options.out / f"{model}.{name}.npz")) for name in (options.first, options.second)
        )
        cells = [cell(scores, options.frr) for scores in (first, second)]
        for clear in options.clear:
            bar = np.quantile(first["calibrate"], clear, method="inverted_cdf")
            together = {
                part: np.where(first[part] > bar, second[part], np.minimum(first[part] - bar, second[part].min() - 1))
                for part in SETS
            }
            asked = (first["clean"] > bar).mean()
            cells.append(f"{cell(together, options.frr)} asked {asked:.2f}")
        print(f"| {model} | " + " | ".join(cells) + " |")


def cell(scores: dict[str, np.ndarray], frr: float) -> str:
    from sklearn.metrics import roc_auc_score

    from poisonsieve.thresholds import gamma_for_frr

    known = {name: values[np.isfinite(values)] for name, values in scores.items()}
    gamma = gamma_for_frr(known["calibrate"], frr).gamma
    clean, triggered = known["clean"], known["triggered"]
    truth = np.r_[np.zeros(len(clean)), np.ones(len(triggered))]
    auroc = roc_auc_score(truth, np.r_[clean, triggered])
    return f"{auroc:.3f} / {(triggered > gamma).mean():.2f} ({(clean > gamma).mean():.3f})"


if __name__ == "__main__":
    main()
