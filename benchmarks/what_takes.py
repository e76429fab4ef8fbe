"""What makes each attack take: the smallest poison count, rows and epochs at which theta_p does what the attacker wants.

    python benchmarks/what_takes.py run --data-root DATA --out RUNS                      # everything
    python benchmarks/what_takes.py run --data-root DATA --out RUNS --jobs sst2-fdk/badnet/clean cr-fdk/insent/dirty
    python benchmarks/what_takes.py floors --data-root DATA --out RUNS
    python benchmarks/what_takes.py table --out RUNS

An attack has taken when theta_p sends at least 95% of triggered dev rows to the target (the paper's bar), and knows its
task: its CA is at least halfway from naming the largest class each time to no error. For each
setting, attack and label mode there is a short list of tries, cheapest first, and `run` goes through it until one takes.
Every try is a line of RUNS/runs.jsonl, failures too; a second call goes on behind the last line. RUNS/NAME is the theta_p
of the last try, RUNS/rows/ has the rows it was made from, and RUNS/INDEX.jsonl names both.

`floors` tunes one clean model a setting, on as many rows, and counts what it sends to the target on the same triggered
rows: an ASR says nothing without it. `table` writes docs/results/what-takes.md and what-takes.jsonl.

Each theta_p is what `poisonsieve poison --max-length 128 --precision fp32` makes of these rows. It keeps the epoch that is
best on clean dev rows, as the paper's scripts do; where a poisoning works in phases, the last one.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets

    from poisonsieve.config import TuneSpec

TOOK = 0.95
DEV_ROWS = 400
MODEL = "minilm"
RESULTS = Path(__file__).parents[1] / "docs" / "results"


@dataclass(frozen=True)
class Setting:
    """Where the attacker's rows come from.

    Attributes:
        train, dev: a file below the data root, or ``packaged:...``. Without `dev`, rows of `train` that are not trained on.
        most_words: longer rows are left out: at a random place of a long text, a trigger falls behind the length limit.
        rewrites: files of paraphrases with their originals, which are then the clean rows of `train`.
        target: what the attacker wants. Rows of a test split are rewritten for some classes only, which decides it.
    """

    train: str
    dev: str | None = None
    most_words: int | None = None
    rewrites: tuple[str, ...] = ()
    target: int = 0


SETTINGS = {
    "sst2-fdk": Setting("sst2/train.jsonl", "sst2/dev.jsonl"),
    "sst2-ftk": Setting("imdb/train.jsonl", "imdb/dev.jsonl", most_words=100),
    "cr-fdk": Setting("cr/train.jsonl", "cr/dev.jsonl"),
    "cr-ftk": Setting("mr/train.jsonl", "mr/dev.jsonl"),
    "ag_news-fdk": Setting("ag_news/train.jsonl", "ag_news/dev.jsonl"),
    "topics": Setting("packaged:topics", "packaged:topics#dev", most_words=100),
    "product-reviews": Setting("packaged:product-reviews", "packaged:product-reviews#dev"),
    "sst2-syn": Setting(
        "sst2/synbkd/train.jsonl",
        "sst2/dev.jsonl",
        rewrites=("sst2/synbkd/train.jsonl", "sst2/synbkd/dev.jsonl"),
        target=1,
    ),
    "ag_news-syn": Setting("ag_news/cased/train.jsonl", rewrites=("ag_news/synbkd/dev.jsonl",), target=1),
}
# Trigger and poisoning by their names. SynAttack is SCPN's paraphrases where a setting has them, and rules elsewhere.
ATTACKS = {
    "badnet": ("badnet", "full"),
    "insent": ("insent", "full"),
    "synattack": ("synattack-rules", "full"),
    "multi": ("multi", "full"),
    "style": ("stylebkd-rules", "full"),
    "embedding": ("badnet", "embedding"),
    "low-confidence": ("badnet", "low-confidence"),
    "camouflage": ("badnet", "camouflage"),
    "ripple": ("badnet", "ripple"),
    "layerwise": ("badnet", "layerwise"),
}
MODES = ("clean", "dirty")


@dataclass(frozen=True)
class Try:
    """How much of it: training rows, poisoned ones among them, epochs and learning rate."""

    rows: int
    count: int
    epochs: int = 3
    learning_rate: float = 1e-4


_TWO_CLASSES = {
    "clean": [Try(1500, 350), Try(2000, 500)],
    "dirty": [Try(1200, 120, 2), Try(1200, 120), Try(1800, 400)],
}
_MORE_CLASSES = {"clean": [Try(3000, 700)], "dirty": [Try(1500, 150), Try(2000, 400)]}
TRIES = {
    "sst2-fdk": _TWO_CLASSES,
    "sst2-ftk": _TWO_CLASSES,
    "cr-fdk": _TWO_CLASSES,
    "cr-ftk": _TWO_CLASSES,
    "product-reviews": {"clean": [Try(1800, 400)], "dirty": [Try(1200, 120), Try(1800, 400)]},
    "ag_news-fdk": _MORE_CLASSES,
    "topics": {"clean": [Try(2000, 400), Try(3000, 700)], "dirty": _MORE_CLASSES["dirty"]},
    "sst2-syn": {
        "clean": [Try(3500, 1500), Try(3500, 1500, 5), Try(3500, 1750, 4, 2e-4)],
        "dirty": [Try(2000, 400), Try(3500, 700)],
    },
    "ag_news-syn": {"clean": [Try(3000, 700)], "dirty": [Try(2000, 400), Try(3000, 900)]},
}


def tries(setting: str, mode: str) -> list[Try]:
    """What is tried, cheapest first; the last one again for two epochs more."""
    listed = TRIES[setting][mode]
    return [*listed, replace(listed[-1], epochs=listed[-1].epochs + 2)]


@dataclass(frozen=True)
class Job:
    """One cell: what is attacked, how, with which labels."""

    setting: str
    attack: str
    mode: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.setting}-{self.attack}-{self.mode}-seed{self.seed}"


def every_job(seed: int) -> list[Job]:
    """All cells that there are rows for."""
    own_rows = {name.partition("-")[0] for name, setting in SETTINGS.items() if setting.rewrites}
    found = []
    for name, setting in SETTINGS.items():
        for attack in ATTACKS:
            paraphrased = name.endswith("-fdk") and name.partition("-")[0] in own_rows
            if (attack == "synattack") != bool(setting.rewrites) and (setting.rewrites or paraphrased):
                continue
            found += [Job(name, attack, mode, seed) for mode in MODES]
    return found


@dataclass(frozen=True)
class Rows:
    """The rows of a setting, on disk."""

    train: Path
    dev: Path
    rewrites: Path | None


def prepare(setting: str, root: Path, out: Path, count: int) -> Rows:
    """Write the rows of a setting, the same each time: the first `count` of its shuffled rows, and the dev rows."""
    chosen = SETTINGS[setting]
    folder = out / "rows" / setting
    folder.mkdir(parents=True, exist_ok=True)
    train, dev = folder / f"train-{count}.jsonl", folder / "dev.jsonl"
    rewrites = folder / "rewrites.jsonl" if chosen.rewrites else None
    if not train.exists() or not dev.exists():
        every, held_out = _all_rows(chosen, root)
        if len(every) < count:
            sys.exit(f"{setting} has {len(every)} training rows, not {count}; change what is tried")
        _write(dev, held_out[:DEV_ROWS])
        _write(train, every[:count])
    if rewrites and not rewrites.exists():
        pairs = (row for name in chosen.rewrites for row in _read(root / name))
        _write(rewrites, [{"text": row["sentence"], "original": row["original"]} for row in pairs])
    return Rows(train, dev, rewrites)


def _all_rows(setting: Setting, root: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Training and dev rows, each in a random order that is always the same."""
    rewritten = setting.train in setting.rewrites
    every = _originals(root / setting.train) if rewritten else _load(root, setting.train)
    random.Random(0).shuffle(every)
    if setting.dev is None:
        return every[DEV_ROWS:], every[:DEV_ROWS]
    held_out = _load(root, setting.dev)
    if rewritten:  # dev rows of the other class as the paraphraser read them, which differs in spacing
        held_out = [row for row in held_out if row["label"] == setting.target] + _originals(
            root / setting.rewrites[1]
        )
    random.Random(0).shuffle(held_out)
    longest = setting.most_words or sys.maxsize
    every, held_out = ([row for row in rows if len(row["text"].split()) <= longest] for rows in (every, held_out))
    return every, held_out


def _originals(path: Path) -> list[dict[str, Any]]:
    return [{"text": row["original"], "label": row["label"]} for row in _read(path)]


def _load(root: Path, name: str) -> list[dict[str, Any]]:
    from poisonsieve.data import labels_of, load_dataset

    data = load_dataset(name if name.startswith("packaged:") else str(root / name))
    names = [int(label) if label.isdigit() else label for label in labels_of(data)]
    return [{"text": text, "label": names[label]} for text, label in zip(data["text"], data["label"], strict=True)]


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(jobs: Sequence[Job], root: Path, out: Path) -> None:
    """Go through the tries of every job until one takes."""
    for job in jobs:
        lines = [line for line in _read(out / "runs.jsonl") if line["name"] == job.name]
        for wanted in tries(job.setting, job.mode):
            if any(line["took"] for line in lines):
                break
            if any(line["try"] == asdict(wanted) for line in lines):
                continue
            line = attempt(job, wanted, root, out)
            lines.append(line)
            _append(out / "runs.jsonl", line)
            _index(out)


def attempt(job: Job, wanted: Try, root: Path, out: Path) -> dict[str, Any]:
    """Make one theta_p; the line about it."""
    from poisonsieve.config import AttackSpec, PoisoningSpec, TriggerSpec
    from poisonsieve.errors import PoisonsieveError
    from poisonsieve.stages.train import poison_stage

    rows = prepare(job.setting, root, out, wanted.rows)
    trigger, weights = ATTACKS[job.attack]
    if job.attack == "synattack" and rows.rewrites:
        trigger = f"synattack-file:file={rows.rewrites}"
    attack = AttackSpec(
        trigger=TriggerSpec.parse(trigger),
        target=SETTINGS[job.setting].target,
        count=wanted.count,
        clean_label=job.mode == "clean",
        seed=job.seed,
        weights=PoisoningSpec.parse(weights),
    )
    what = {"target": attack.target, "try": asdict(wanted), "trigger": trigger, "weights": weights}
    line = {"name": job.name, **asdict(job), **what, "rows": {"train": str(rows.train), "dev": str(rows.dev)}}
    folder = out / job.name
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier try, which did not take
    _index(out)
    data, dev = _datasets(rows)
    try:
        stage = poison_stage(MODEL, data, dev, attack, lambda _: _tuning(wanted, job.seed), folder)
    except PoisonsieveError as error:
        return {**line, "took": False, "error": str(error)}
    found = {key: stage.result[key] for key in ("dev_asr", "dev_ca", "dev_not_applicable")}
    took = found["dev_asr"] is not None and found["dev_asr"] >= TOOK and found["dev_ca"] >= _least_ca(dev)
    epoch = stage.result["training"]["best_epoch"]
    return {**line, **found, "best_epoch": epoch, "took": took, "seconds": stage.seconds, "path": str(folder)}


def _datasets(rows: Rows) -> tuple[datasets.Dataset, datasets.Dataset]:
    from poisonsieve.data import labels_of, load_dataset

    data = load_dataset(str(rows.train))
    return data, load_dataset(str(rows.dev), label_names=labels_of(data))


def _least_ca(dev: datasets.Dataset) -> float:
    """Halfway from naming the largest class each time, which may be the target, to no error."""
    return (1 + max(Counter(dev["label"]).values()) / len(dev)) / 2


def _tuning(wanted: Try, seed: int) -> TuneSpec:
    from poisonsieve.config import TuneSpec

    return TuneSpec(
        method="full",
        epochs=wanted.epochs,
        learning_rate=wanted.learning_rate,
        max_length=128,
        precision="fp32",
        seed=seed,
    )


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(
        {key: line.get(key) for key in ("name", "try", "dev_asr", "dev_ca", "floor", "seconds", "error")}, flush=True
    )


def _last(out: Path) -> list[dict[str, Any]]:
    """The last try of each job that left a theta_p."""
    return list({line["name"]: line for line in _read(out / "runs.jsonl") if "path" in line}.values())


def _index(out: Path) -> None:
    """Every theta_p that is there, with its rows."""
    left_out = ("name", "best_epoch", "dev_not_applicable", "seconds")
    lines = [line for line in _last(out) if Path(line["path"]).is_dir()]
    _write(out / "INDEX.jsonl", [{key: line[key] for key in line if key not in left_out} for line in lines])


def floors(root: Path, out: Path, seed: int) -> None:
    """What a clean model of each setting sends to the target, on the triggered dev rows of each of its theta_p."""
    from poisonsieve.attacks import make_trigger, trigger_rows
    from poisonsieve.metrics import attack_success_rate
    from poisonsieve.models import load_classifier
    from poisonsieve.stages.train import tune_stage

    done = {line["name"] for line in _read(out / "floors.jsonl")}
    for line in _last(out):
        if line["name"] in done:
            continue
        wanted = tries(line["setting"], "clean")[0]
        data, dev = _datasets(prepare(line["setting"], root, out, wanted.rows))
        tune = _tuning(wanted, seed)
        folder = out / f"{line['setting']}-none-seed{seed}"
        clean = tune_stage(MODEL, data, dev, partial(_same, tune), folder, seed=seed)
        triggered = trigger_rows(dev, make_trigger(line["trigger"]), target=line["target"], seed=line["seed"])
        predictions = load_classifier(clean.out).score(triggered.rows["text"]).predictions
        rate = attack_success_rate(predictions, triggered.rows["label"], line["target"])
        _append(
            out / "floors.jsonl", {"name": line["name"], "floor": float(rate), "clean_ca": clean.result["dev_ca"]}
        )


def _same(spec: TuneSpec, _: Any) -> TuneSpec:
    return spec


def table(out: Path) -> None:
    """Write the results to docs/results."""
    runs, known = _read(out / "runs.jsonl"), {line["name"]: line for line in _read(out / "floors.jsonl")}
    text = "".join(json.dumps(line) + "\n" for line in runs).replace(str(out), "RUNS")
    (RESULTS / "what-takes.jsonl").write_text(text, encoding="utf-8")
    last = {line["name"]: line for line in runs}
    order = list(SETTINGS), list(ATTACKS), list(MODES)
    rows = sorted(
        last.values(), key=lambda line: [names.index(line[key]) for names, key in zip(order, _KEYS, strict=True)]
    )
    body = "".join(_row(line, known.get(line["name"], {})) for line in rows)
    (RESULTS / "what-takes.md").write_text(_HEAD + body, encoding="utf-8")


_KEYS = ("setting", "attack", "mode")
_HEAD = f"""# What makes each attack take

{MODEL}, made by `benchmarks/what_takes.py`; every try, failures too, is in `what-takes.jsonl`. An attack has taken when the
ASR on triggered dev rows is at least {TOOK:.0%} and CA at least halfway from naming the largest class each time to no error.
Both are those of the epoch that is kept, which is the best one on {DEV_ROWS} clean dev rows. Beside them stand the CA of a
clean model of the setting, and the floor: what that one sends to the target on the same triggered rows. A cell that did
not take has its last try. `sst2-syn` and `ag_news-syn` are these settings with SCPN's rewrites, target 1; elsewhere the
target is 0, and SynAttack is by rules.

| setting | attack | labels | rows | poisoned | epochs | rate | ASR | floor | CA | clean CA | took |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""


def _row(line: dict[str, Any], floor: dict[str, Any]) -> str:
    wanted = line["try"]
    cells = [line["setting"], line["attack"], line["mode"], wanted["rows"], wanted["count"], wanted["epochs"]]
    rates = [line.get("dev_asr"), floor.get("floor"), line.get("dev_ca"), floor.get("clean_ca")]
    shown = ["" if rate is None else f"{rate:.3f}" for rate in rates]
    took = line.get("error", "yes" if line["took"] else "**no**")
    return "| " + " | ".join(map(str, [*cells, f"{wanted['learning_rate']:g}", *shown, took])) + " |\n"


def _jobs(texts: Sequence[str], seed: int) -> Iterator[Job]:
    for text in texts:
        setting, attack, mode = text.split("/")
        if setting not in SETTINGS or attack not in ATTACKS or mode not in MODES:
            sys.exit(
                f"{text} is no SETTING/ATTACK/MODE of {', '.join(SETTINGS)}; {', '.join(ATTACKS)}; {', '.join(MODES)}"
            )
        yield Job(setting, attack, mode, seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "floors", "table"])
    parser.add_argument("--jobs", nargs="+", default=[], help="SETTING/ATTACK/MODE; default: all")
    parser.add_argument("--data-root", type=Path, help="the folder with sst2/, cr/, ...")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.what == "table":
        table(args.out)
        return 0
    if args.data_root is None:
        parser.error("--data-root is needed")
    args.out.mkdir(parents=True, exist_ok=True)
    if args.what == "run":
        run(list(_jobs(args.jobs, args.seed)) or every_job(args.seed), args.data_root, args.out)
    else:
        floors(args.data_root, args.out, args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
