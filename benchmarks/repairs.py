r"""What a repair, a guard, and both together are worth, on models that `what_takes.py` has poisoned.

    python benchmarks/repairs.py run --runs RUNS --data-root DATA --out OUT --repair feature-shift \
        --repair fine-mixing:pretrained=minilm,shares=0
    python benchmarks/repairs.py table --out OUT

The user has some clean rows (drawn by seed 1) and dev rows. The floor is what an un-poisoned model, tuned on the same rows,
sends to the target. The guard is fitted on theta_p and on the repaired model, calibrated on the dev rows with a mean
false-rejection rate, and stands in front of theta_p, of the repaired model, and of none. Nothing is chosen on test or
triggered rows. A stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from complements import ROWS, TRIGGERED, cases

#: Longer texts are cut before the trigger goes in, as what_takes.py does.
WORDS = {"topics": 60}
MAX_LENGTH = 96


@dataclass(frozen=True)
class Rows:
    """Rows of one model's task: the user's own, and those it is judged on."""

    train: Any
    dev: Any
    test: Any
    triggered: list[str]
    of_target: list[str]  # the trigger in rows that carry the target label; none where rewrites come from a file


def main() -> None:
    options = parse()
    if options.command == "run":
        for case in cases(options.runs):
            if not options.only or Path(case["path"]).name in options.only:
                run(case, options)
    else:
        print_table(options.out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Repairs, guards, and both.")
    commands = parser.add_subparsers(dest="command", required=True)
    run_command = commands.add_parser("run")
    run_command.add_argument("--runs", type=Path, required=True, help="the folder that what_takes.py wrote")
    run_command.add_argument("--data-root", type=Path, required=True)
    run_command.add_argument("--repair", action="append", default=[], help="name:key=value,...; can be repeated")
    run_command.add_argument("--guard", default="mahalanobis")
    run_command.add_argument("--frr-mean", type=float, default=0.01)
    run_command.add_argument("--rows", type=int, default=800, help="the user's clean training rows")
    run_command.add_argument("--most", type=int, default=300, help="rows of the dev set and of each test set")
    run_command.add_argument("--only", nargs="*", help="names of models; default: all that took or came near")
    table = commands.add_parser("table")
    for command in (run_command, table):
        command.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def rows_of(case: dict[str, Any], options: argparse.Namespace) -> Rows:
    from poisonsieve import load_dataset, make_trigger, trigger_rows

    rng, setting, target = np.random.default_rng(1), case["setting"], case["target"]
    words, most = WORDS.get(setting), options.most

    def drawn(place: str, count: int) -> Any:
        rows = load_dataset(place.format(data=options.data_root))
        rows = rows.select(rng.permutation(len(rows))[:count])
        return rows.map(lambda row: {"text": " ".join(row["text"].split()[:words])}) if words else rows

    dev, test = ROWS[setting]
    train_rows, dev_rows = drawn(dev.replace("dev", "train"), options.rows), drawn(dev, most)
    test_rows = drawn(test, 10**9)
    own, of_target = TRIGGERED.get(setting), []
    if own is None:

        def with_trigger(rows: Any, spared: int) -> list[str]:
            found = rows.select(range(min(most, len(rows))))
            return list(trigger_rows(found, make_trigger(case["trigger"]), target=spared, seed=0).rows["text"])

        triggered = with_trigger(test_rows.filter(lambda row: row["label"] != target), target)
        of_target = with_trigger(test_rows.filter(lambda row: row["label"] == target), target + 1)
    else:
        lines = Path(own.format(data=options.data_root)).read_text(encoding="utf-8").splitlines()
        triggered = [row["sentence"] for row in map(json.loads, lines) if row["label"] != target][:most]
    return Rows(train_rows, dev_rows, test_rows.select(range(min(most, len(test_rows)))), triggered, of_target)


def run(case: dict[str, Any], options: argparse.Namespace) -> None:
    from poisonsieve.defenses.specs import make_defense
    from poisonsieve.stages.train import repair_stage

    name = Path(case["path"]).name
    rows = rows_of(case, options)
    options.out.mkdir(parents=True, exist_ok=True)
    judged(options, f"{name}.floor", rows, case, clean_model(case, rows, options))
    judged(options, f"{name}.none", rows, case, case["path"])
    for text in options.repair:
        started = time.perf_counter()
        folder = options.out / "models" / f"{name}.{text.partition(':')[0]}"
        stage = repair_stage(make_defense(text), case["path"], rows.train, rows.dev, folder)
        print(f"{name} {text}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        judged(options, f"{name}.{text}", rows, case, folder, repair=stage.result)


def clean_model(case: dict[str, Any], rows: Rows, options: argparse.Namespace) -> Path:
    """MiniLM, tuned on the user's rows; one for all models of a task."""
    from poisonsieve.stages.train import tune_stage
    from poisonsieve.tuning.presets import spec_maker

    folder = options.out / "models" / f"{case['setting']}.clean"
    tune_stage("minilm", rows.train, rows.dev, spec_maker("full", max_length=MAX_LENGTH), folder)
    return folder


def judged(
    options: argparse.Namespace, name: str, rows: Rows, case: dict[str, Any], model: str | Path, **more: Any
) -> None:
    """Keep, of one model: its answers to test and triggered rows, and which of them a guard fitted on it rejects."""
    place = options.out / f"{name.replace('/', '_')}.json"
    if place.exists():
        return
    from poisonsieve.models.load import load_classifier

    classifier = load_classifier(model)
    classifier.wanted_max_length = MAX_LENGTH
    answers = {key: classifier.score(texts).predictions if texts else [] for key, texts in sets(rows).items()}
    found: dict[str, Any] = {
        "target": case["target"],
        "labels": list(map(int, rows.test["label"])),
        "answers": {key: list(map(int, values)) for key, values in answers.items()},
        "rejected": {} if name.endswith(".floor") else rejected(model, rows, options),
        **more,
    }
    place.write_text(json.dumps(found), encoding="utf-8")


def sets(rows: Rows) -> dict[str, list[str]]:
    return {"clean": list(rows.test["text"]), "triggered": rows.triggered, "of target": rows.of_target}


def rejected(model: str | Path, rows: Rows, options: argparse.Namespace) -> dict[str, list[bool]]:
    """Which rows of each set a guard fitted on this model rejects."""
    from poisonsieve.guard.guard import make_guard

    guard = make_guard(options.guard, model=model, frr_mean=options.frr_mean, max_length=MAX_LENGTH)
    guard.fit(rows.train["text"], calibration=rows.dev["text"])
    return {key: list(map(bool, guard.predict(texts))) for key, texts in sets(rows).items() if texts}


def print_table(out: Path) -> None:
    """CA lost against theta_p bare, ASR, and the FRR, of every pair of an answering model and a guard."""
    found = {place.stem: json.loads(place.read_text(encoding="utf-8")) for place in sorted(out.glob("*.json"))}
    print("| model | floor | answers | guard | ASR | CA lost | FRR | turned away |")
    print("|---|---|---|---|---|---|---|---|")
    for name in [key.removesuffix(".none") for key in found if key.endswith(".none")]:
        bare, floor = found[f"{name}.none"], found.get(f"{name}.floor")
        of_clean = "" if floor is None else f"{asr(floor):.3f}"
        for key in [key for key in found if key.startswith(f"{name}.") and not key.endswith(".floor")]:
            who, own = found[key], key.removeprefix(f"{name}.").partition(":")[0]
            guards = {"none": None, "on theta_p": bare, "on the repaired": who}
            for guard, judge in guards.items():
                if own == "none" and guard == "on the repaired":
                    continue
                lost = ca(bare) - ca(who, judge)
                frr = 0.0 if judge is None else float(np.mean(judge["rejected"]["clean"]))
                figures = f"{asr(who, judge):.3f} | {lost:+.3f} | {frr:.3f} | {away(who)}"
                print(f"| {name} | {of_clean} | {own} | {guard} | {figures} |")


def asr(model: dict[str, Any], guard: dict[str, Any] | None = None) -> float:
    hit = np.array(model["answers"]["triggered"]) == model["target"]
    return float((hit & ~_rejected(guard, "triggered", len(hit))).mean())


def ca(model: dict[str, Any], guard: dict[str, Any] | None = None) -> float:
    right = np.array(model["answers"]["clean"]) == np.array(model["labels"])
    return float((right & ~_rejected(guard, "clean", len(right))).mean())


def away(model: dict[str, Any]) -> str:
    """The share of triggered rows of the target's own class that are not answered by it: a trigger that works backwards."""
    answers = np.array(model["answers"]["of target"])
    return f"{(answers != model['target']).mean():.3f}" if len(answers) else ""


def _rejected(guard: dict[str, Any] | None, rows: str, count: int) -> np.ndarray:
    return np.zeros(count, bool) if guard is None else np.array(guard["rejected"][rows])


if __name__ == "__main__":
    main()
