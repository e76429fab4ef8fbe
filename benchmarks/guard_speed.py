"""Speed as ratios: each figure is one way of working against a stated baseline, in the same run on the same rows.

    python benchmarks/guard_speed.py                   # the official run: on a quiet machine
    python benchmarks/guard_speed.py --repeats 1 --rows 96 --fit-rows 64   # a quick look
    python benchmarks/guard_speed.py --json > speed.json

What is measured, on the packaged encoder `minilm` and rows of `packaged:product-reviews`:

- screen: guard and victim together, against the victim alone;
- one pass: the same with a guard that was fitted on the victim and reads its pass (mahalanobis), 32 texts at a time;
- latency: that guard and the bare victim on one text at a time (on a quarter of the rows);
- order: batches of texts of like length, against batches in the given order;
- batch: 32 texts at a time, against one at a time (on a quarter of the rows);
- fit: training the guard by P-tuning v1, against training it in full.

Both sides of a ratio are timed in turn, the first of them changing from repeat to repeat, after one round that is
thrown away. A ratio above 1 means: faster than the baseline. Given are the median of the repeats' ratios, the lowest
and the highest of them, and the median speeds. Nothing here says how well a guard works: its victim is tuned for one
epoch on a few hundred rows, only to have a head.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poisonsieve import (
    PSIM,
    Guard,
    GuardedClassifier,
    PoisonsieveError,
    finetune,
    load_classifier,
    load_dataset,
    tune_spec,
)
from poisonsieve.defenses import Mahalanobis
from poisonsieve.models import save_classifier
from ratios import Ratio, alternate, compare, give, report_of, say, timed

MODEL, DATA = "minilm", "packaged:product-reviews"
BATCH = 32
CALIBRATION_ROWS = 100
FRR = 0.05


def main() -> None:
    options = parse()
    started = time.perf_counter()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="poisonsieve-bench-") as folder:
        try:
            say(f"tuning {MODEL} for one epoch on {options.fit_rows} rows, and fitting a guard")
            victim_folder = make_victim(Path(folder) / "victim", options.fit_rows)
            ratios, facts = measure(victim_folder, options)
        except PoisonsieveError as error:
            sys.exit(f"error: {error}")
    give(
        report_of(
            ratios, {"model": MODEL, "data": DATA, "batch": BATCH, "frr": FRR, **vars(options), **facts}, started
        ),
        as_json=options.json,
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed of the guard, as ratios.")
    parser.add_argument("--repeats", type=int, default=5, help="timed repeats of screen, order and batch")
    parser.add_argument("--fit-repeats", type=int, default=3, help="timed repeats of fit")
    parser.add_argument("--rows", type=int, default=320, help="test rows that are scored")
    parser.add_argument("--fit-rows", type=int, default=256, help="training rows of the victim and of each guard")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    if min(options.repeats, options.fit_repeats, options.rows, options.fit_rows) < 1:
        parser.error("counts start at 1")
    return options


def make_victim(folder: Path, rows: int) -> Path:
    """A whole checkpoint with a head that was trained, if only a little."""
    train = first_rows("train", rows)
    names = train.features["label"].names
    classifier = load_classifier(MODEL, label_names=names, head="any")
    finetune(classifier, train, tune_spec("full", hidden_size=classifier.base.config.hidden_size, epochs=1))
    folder.mkdir()
    save_classifier(classifier, folder)
    return folder


def measure(victim_folder: Path, options: argparse.Namespace) -> tuple[list[Ratio], dict[str, Any]]:
    victim = load_classifier(victim_folder)
    guard = fit("p_tuning_v1", victim_folder, options.fit_rows)
    guarded = GuardedClassifier(guard, victim)
    one_pass = GuardedClassifier(fit_on_victim(victim_folder, options.fit_rows), victim)
    assert one_pass.one_pass, "the guard reads the victim's own pass"
    texts = list(first_rows("test", options.rows)["text"])
    lengths = [len(ids) for ids in victim.encode(texts).ids]
    passed = sum(not verdict.rejected for verdict in guarded.screen(texts))

    def in_given_order() -> np.ndarray:
        chunks = (texts[start : start + BATCH] for start in range(0, len(texts), BATCH))
        return np.concatenate([victim.score(chunk, batch_size=BATCH).values for chunk in chunks])

    def by_length(size: int, rows: int | None = None) -> np.ndarray:
        return victim.score(texts[:rows], batch_size=size).values

    np.testing.assert_allclose(in_given_order(), by_length(BATCH), atol=1e-4)  # the same work on both sides
    n = len(texts)
    few = max(1, n // 4)  # one at a time is slow
    scoring: list[tuple[str, int, str, Callable[[], object], str, Callable[[], object]]] = [
        ("screen", n, "guard + victim", lambda: guarded.screen(texts), "victim alone", lambda: by_length(BATCH)),
        ("one pass", n, "one-pass guard", lambda: one_pass.screen(texts), "victim alone", lambda: by_length(BATCH)),
        (
            "latency",
            few,
            "one-pass guard, a text",
            lambda: [one_pass.screen([text]) for text in texts[:few]],
            "victim alone, a text",
            lambda: [victim.score([text]) for text in texts[:few]],
        ),
        ("order", n, "batches by length", lambda: by_length(BATCH), "batches in the given order", in_given_order),
        ("batch", few, f"batch {BATCH}", lambda: by_length(BATCH, few), "batch 1", lambda: by_length(1, few)),
    ]
    ratios = []
    for name, rows, measured, run, baseline, run_baseline in scoring:
        say(f"{name}: {measured} against {baseline}")
        times = alternate(timed(run), timed(run_baseline), options.repeats)
        ratios.append(compare(name, f"{measured}, texts/s", f"{baseline}, texts/s", rows, times))
    say("fit: P-tuning v1 against full tuning")
    times = alternate(
        lambda: fit("p_tuning_v1", victim_folder, options.fit_rows).detector.training_.seconds,
        lambda: fit("full", victim_folder, options.fit_rows).detector.training_.seconds,
        options.fit_repeats,
    )
    ratios.append(compare("fit", "guard by p_tuning_v1, rows/s", "guard by full, rows/s", options.fit_rows, times))
    facts = {
        "texts_passed": f"{passed} of {n}",
        "tokens_median": statistics.median(lengths),
        "tokens_max": max(lengths),
        "training_precision": guard.detector.training_.precision,
    }
    return ratios, facts


def fit(method: Any, model: Path, rows: int) -> Guard:
    calibration = first_rows("dev", CALIBRATION_ROWS)
    return Guard(PSIM(model, method=method, seed=0), frr=FRR).fit(first_rows("train", rows), calibration=calibration)


def fit_on_victim(model: Path, rows: int) -> Guard:
    calibration = first_rows("dev", CALIBRATION_ROWS)
    return Guard(Mahalanobis(model), frr=FRR).fit(first_rows("train", rows), calibration=calibration)


def first_rows(split: str, count: int) -> Any:
    data = load_dataset(DATA, split=split)
    return data.select(range(min(count, len(data))))


if __name__ == "__main__":
    main()
