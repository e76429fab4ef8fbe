"""What a guard costs, as one table from one run: answers with a guard against answers without, on the same texts.

    python benchmarks/guard_speed.py --out docs/results                # the official run: on a quiet machine
    python benchmarks/guard_speed.py --rounds 2 --rows 64 --fit-rows 150 --fit-rounds 1    # a quick look
    python benchmarks/guard_speed.py --again docs/results/guard_speed.json --out docs/results    # the table alone

The ways that are compared:

- victim alone: the bare classifier, which the others are ratios to;
- PSIM, as published: two passes, the texts one at a time in the order given, as the paper's scripts read them;
- PSIM, psim-rarity: two passes, 32 texts of like length at a time;
- rarity, mahalanobis, msp: one pass, since they are fitted on the victim and read what it computes anyway;
- cascade: the same as mahalanobis, and psim-rarity for about half of the texts;
- transformers' pipeline around the bare victim, at its defaults.

Measured of each, all ways in turn and each round begun by another, after one round that is thrown away: the seconds of one
text at a time (rounds of eight texts), of all texts in one call, and of fitting the guard beside those of tuning the victim
on the same rows by its defaults. Given are ratios: the median over the rounds, and the quartiles.

Operations are counted, not timed (multiplications and additions of matrix products, a text at a time, so without padding);
the machine's rate is that of one large product of fp32 matrices, timed in the same rounds.

How well each way works is not measured here: the table takes it from --quality, which guard_quality.py writes.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from poisonsieve.processors import Processors, wait_without_spinning

wait_without_spinning()
PROCESSORS = Processors()

import numpy as np  # noqa: E402 - threads are chosen before torch is imported
import torch  # noqa: E402

from guard_quality import FRR as FRR_OF_QUALITY  # noqa: E402
from guard_quality import Quality  # noqa: E402
from interleaved import Spread, in_turn, times_of  # noqa: E402
from poisonsieve import (  # noqa: E402
    PSIM,
    Detector,
    Guard,
    GuardedClassifier,
    PoisonsieveError,
    finetune,
    load_classifier,
    load_dataset,
    tune_spec,
)
from poisonsieve.defenses import MSP, Cascade, Mahalanobis, OnePassRarity, PSIMRarity  # noqa: E402
from poisonsieve.environment import environment  # noqa: E402
from poisonsieve.models import save_classifier  # noqa: E402
from poisonsieve.models.classifier import Classifier  # noqa: E402
from ratios import machine, say  # noqa: E402

VICTIM, PIPELINE, TUNING, PRODUCT = "victim alone", "transformers' pipeline", "tuning", "matrix product"
PUBLISHED = "PSIM, as published"
DETECTORS: dict[str, type[Any]] = {
    "PSIM": PSIM,
    "psim-rarity": PSIMRarity,
    "rarity": OnePassRarity,
    "mahalanobis": Mahalanobis,
    "msp": MSP,
    "cascade": Cascade,
}
CALIBRATION_ROWS, FRR = 100, 0.05
FEWEST_ROWS = 150  # a cascade holds out a fifth, psim-rarity in it another, and needs 20 of those
BLOCK = 8  # texts of one round of the latency
SIDE = 1024  # of the square matrices whose product gives the machine's rate


@dataclass(frozen=True)
class Row:
    """One way of working; spreads are of its seconds divided by the victim's own."""

    name: str
    passes: str
    one_text: Spread | None
    all_texts: Spread
    ms_a_text: float | None
    texts_per_s: float
    times_pipeline: float
    fit: Spread | None
    million_operations: float
    share_of_rate: float


@dataclass(frozen=True)
class Ways:
    """What is compared: the victim, the guards in front of it, and their fitting."""

    victim: Classifier
    guarded: dict[str, GuardedClassifier]
    fit_seconds: dict[str, list[float]]


def main() -> None:
    options = parse()
    report = measured(options) if options.again is None else json.loads(options.again.read_text(encoding="utf-8"))
    found = json.loads(options.quality.read_text(encoding="utf-8")) if options.quality is not None else []
    table = table_of([row_of(row) for row in report["rows"]], report, [Quality(**each) for each in found])
    print(table)
    if options.out is not None:
        (options.out / "guard_speed.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (options.out / "guard_speed.md").write_text(f"# What a guard costs\n\n{table}\n", encoding="utf-8")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What the run found, JSON-ready."""
    started = time.perf_counter()
    say(PROCESSORS.share() or f"{torch.get_num_threads()} threads, as the environment says")
    with tempfile.TemporaryDirectory(prefix="poisonsieve-bench-") as folder:
        try:
            ways = prepare(Path(folder) / "victim", options)
            rows, facts = measure(ways, options)
        except PoisonsieveError as error:
            sys.exit(f"error: {error}")
    settings = {key: value for key, value in vars(options).items() if key not in ("out", "again", "quality")}
    return {
        "rows": [asdict(row) for row in rows],
        "facts": facts,
        "settings": settings,
        "machine": machine(),
        "versions": environment(),
        "seconds": time.perf_counter() - started,
    }


def row_of(saved: dict[str, Any]) -> Row:
    spreads = {
        key: value and Spread(**value) for key, value in saved.items() if key in ("one_text", "all_texts", "fit")
    }
    return Row(**{**saved, **spreads})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a guard costs, as ratios to the bare victim.")
    parser.add_argument("--model", default="minilm", help="a base model, or a checkpoint with a head")
    parser.add_argument("--data", default="packaged:product-reviews", help="rows with splits train, dev and test")
    parser.add_argument("--rounds", type=int, default=11, help="timed rounds of all texts")
    parser.add_argument("--blocks", type=int, default=20, help=f"timed rounds of {BLOCK} texts, one at a time")
    parser.add_argument("--fit-rounds", type=int, default=3, help="timed rounds of fitting and tuning")
    parser.add_argument("--rows", type=int, default=320, help="test rows that are screened")
    parser.add_argument("--fit-rows", type=int, default=900, help="training rows of victim and guards")
    parser.add_argument("--quality", type=Path, help="guard_quality.json: what each way finds, for the table")
    parser.add_argument("--again", type=Path, help="guard_speed.json of an earlier run, instead of measuring")
    parser.add_argument("--out", type=Path, help="folder for guard_speed.json and guard_speed.md")
    options = parser.parse_args()
    if (
        min(options.rounds, options.blocks, options.fit_rounds) < 1
        or options.fit_rows < FEWEST_ROWS
        or options.rows < BLOCK
    ):
        parser.error(f"rounds start at 1, rows at {BLOCK}, and fit rows at {FEWEST_ROWS}")
    return options


def prepare(folder: Path, options: argparse.Namespace) -> Ways:
    """Tune the victim, and fit every guard on it, in turn and as often as asked for; the last of each is kept."""
    train, calibration = (
        rows_of(options.data, "train", options.fit_rows),
        rows_of(options.data, "dev", CALIBRATION_ROWS),
    )
    say(f"tuning {options.model} on {len(train)} rows")
    folder.mkdir()
    save_classifier(tuned(options.model, train), folder)
    guards: dict[str, Guard] = {}

    def fit(name: str, detector: Callable[[Path], Detector]) -> None:
        say(f"fitting {name}")
        guards[name] = Guard(detector(folder), frr=FRR).fit(train, calibration=calibration)

    work: dict[str, Callable[[], object]] = {TUNING: partial(tuned, options.model, train)}
    seconds = in_turn(
        work | {name: partial(fit, name, detector) for name, detector in DETECTORS.items()}, options.fit_rounds
    )
    victim = load_classifier(folder)
    return Ways(victim, {name: GuardedClassifier(guard, victim) for name, guard in guards.items()}, seconds)


def tuned(model: str, train: Any) -> Classifier:
    """A victim, tuned in full by its defaults."""
    classifier = load_classifier(model, label_names=train.features["label"].names, head="any")
    finetune(classifier, train, tune_spec("full", hidden_size=classifier.base.config.hidden_size))
    return classifier


def rows_of(data: str, split: str, count: int) -> Any:
    rows = load_dataset(data, split=split)
    return rows.select(range(min(count, len(rows))))


def measure(ways: Ways, options: argparse.Namespace) -> tuple[list[Row], dict[str, Any]]:
    texts = list(rows_of(options.data, "test", options.rows)["text"])
    victim, guarded = ways.victim, ways.guarded
    screening: dict[str, Callable[[Sequence[str]], object]] = {
        VICTIM: victim.score,
        PUBLISHED: lambda given: [guarded["PSIM"].screen([text]) for text in given],
        **{name: each.screen for name, each in guarded.items()},
        PIPELINE: pipeline_of(victim),
    }
    say(f"one text at a time: {options.blocks} rounds")
    one_by_one = one_at_a_time({name: screening[name] for name in (VICTIM, *guarded)}, texts, options.blocks)
    say(f"{len(texts)} texts: {options.rounds} rounds")
    all_at_once: dict[str, Callable[[], object]] = {name: partial(work, texts) for name, work in screening.items()}
    together = in_turn({**all_at_once, PRODUCT: product()}, options.rounds)
    per_second = {name: len(texts) / float(np.median(seconds)) for name, seconds in together.items()}
    rate = 2 * SIDE**3 / float(np.median(together.pop(PRODUCT)))
    one_text, all_texts = times_of(one_by_one, VICTIM), times_of(together, VICTIM)
    fits = times_of(ways.fit_seconds, TUNING)
    counted = {name: alone(work, texts) for name, work in screening.items()}
    for name, each in guarded.items():
        counted[name] += of_distances(each.guard.detector)
    rows = [
        Row(
            name,
            passes=passes_of(name, guarded),
            one_text=one_text.get(name),
            all_texts=all_texts[name],
            ms_a_text=1e3 * float(np.median(one_by_one[name])) / BLOCK if name in one_by_one else None,
            texts_per_s=per_second[name],
            times_pipeline=per_second[name] / per_second[PIPELINE],
            fit=fits.get("PSIM" if name == PUBLISHED else name),
            million_operations=counted[name] / 1e6,
            share_of_rate=counted[name] * per_second[name] / rate,
        )
        for name in screening
    ]
    return rows, facts_of(ways, texts, rate)


def passes_of(name: str, guarded: dict[str, GuardedClassifier]) -> str:
    if name in guarded and isinstance(guarded[name].guard.detector, Cascade):
        return "one or two"
    return "two" if name == PUBLISHED or (name in guarded and not guarded[name].one_pass) else "one"


def one_at_a_time(
    ways: dict[str, Callable[[Sequence[str]], object]], texts: Sequence[str], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each way on blocks of texts, which follow one another and start again at the end."""
    blocks = [texts[start : start + BLOCK] for start in range(0, len(texts) - BLOCK + 1, BLOCK)]

    def over_blocks(work: Callable[[Sequence[str]], object]) -> Callable[[], object]:
        coming = itertools.cycle(blocks)
        return lambda: [work([text]) for text in next(coming)]

    return in_turn({name: over_blocks(work) for name, work in ways.items()}, rounds)


def pipeline_of(victim: Classifier) -> Callable[[Sequence[str]], object]:
    """The usual way to classify texts, with nothing set but what it reads."""
    from transformers import pipeline

    made = pipeline("text-classification", model=victim.base, tokenizer=victim.tokenizer)
    return lambda texts: made(list(texts), truncation=True)


def product() -> Callable[[], object]:
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    return lambda: torch.mm(left, right)


def operations(work: Callable[[], object]) -> int:
    """Multiplications and additions in the network's matrix products."""
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    uncounted = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    with FlopCounterMode(display=False, custom_mapping=uncounted) as counter:
        work()
    return int(counter.get_total_flops())


def alone(work: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """Operations a text, as a mean over texts that are read one at a time."""
    return operations(lambda: [work([text]) for text in texts]) / len(texts)


def of_distances(detector: Detector) -> int:
    """Operations a text in a detector's own products with what it has learned of the states, which are not torch's."""
    if isinstance(detector, Cascade):
        return sum(of_distances(member) for member in detector.members_.values())
    learned = getattr(detector, "passes_", None)
    whiteners = learned.whiteners if learned is not None else getattr(detector, "whiteners_", np.empty(0))
    return 2 * int(whiteners.size)


def facts_of(ways: Ways, texts: Sequence[str], rate: float) -> dict[str, Any]:
    """What the numbers depend on, and where a pass's time goes beside products."""
    lengths = [len(ids) for ids in ways.victim.encode(texts).ids]
    in_batches = operations(lambda: ways.victim.score(texts))
    width = ways.victim.base.config.hidden_size
    rows = 32 * int(np.median(lengths))
    small = (torch.randn(rows, width), torch.randn(width, width))
    seconds = in_turn(
        {
            "encode": lambda: ways.victim.encode(texts),
            "score": lambda: ways.victim.score(texts),
            "small": lambda: [torch.mm(*small) for _ in range(50)],
        },
        rounds=5,
    )
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return {
        "tokens_median": float(np.median(lengths)),
        "tokens_max": max(lengths),
        "gflop_per_s": rate / 1e9,
        "padding_share": in_batches / len(texts) / alone(ways.victim.score, texts) - 1,
        "encoding_share": medians["encode"] / medians["score"],
        "rate_at_model_size": 50 * 2 * rows * width * width / medians["small"] / rate,
        "tuning_seconds": float(np.median(ways.fit_seconds[TUNING])),
    }


def table_of(rows: Sequence[Row], report: dict[str, Any], found: Sequence[Quality] = ()) -> str:
    columns = list(dict.fromkeys(quality.column for quality in found))
    lines = [
        "| way | passes | one text: times the victim's time | 32 at a time: times the victim's time | ms a text, alone "
        "| texts/s | times the pipeline | fit / victim's tuning | million operations a text | share of the machine's rate |"
        + "".join(f" {', '.join(column)} |" for column in columns),
        "|---" * (10 + len(columns)) + "|",
    ]
    lines += [
        f"| {row.name} | {row.passes} | {row.one_text or '-'} | {row.all_texts} | "
        f"{'-' if row.ms_a_text is None else f'{row.ms_a_text:.1f}'} | {row.texts_per_s:.0f} | {row.times_pipeline:.2f} | "
        f"{row.fit or '-'} | {row.million_operations:.0f} | {100 * row.share_of_rate:.0f}% |"
        + "".join(f" {worst(row.name, column, found)} |" for column in columns)
        for row in rows
    ]
    if columns:
        lines += [
            "",
            f"The columns of data sets: AUROC / share of triggered rows detected at FRR {FRR_OF_QUALITY}; of a way that "
            "reads the victim, for the victim on which it tells them worst ([all of them](guard_quality.md)).",
        ]
    facts = report["facts"]
    lines += [
        "",
        f"Medians with quartiles. Texts of {facts['tokens_median']:g} tokens (median; longest {facts['tokens_max']}). "
        f"Tuning the victim took {facts['tuning_seconds']:.0f} s. The machine multiplies large fp32 matrices at "
        f"{facts['gflop_per_s']:.0f} Gflop/s, those of this model's size at {100 * facts['rate_at_model_size']:.0f}% of "
        f"that; padding adds {100 * facts['padding_share']:.0f}% to the victim's operations, and tokenizing takes "
        f"{100 * facts['encoding_share']:.0f}% of its time.",
        "",
    ]
    lines += [
        f"{part}: " + ", ".join(f"{key} {value}" for key, value in report[part].items()) + "."
        for part in ("settings", "machine", "versions")
    ]
    return "\n".join([*lines, f"whole run: {report['seconds']:.0f} s."])


def worst(way: str, column: tuple[str, str], found: Sequence[Quality]) -> str:
    """The lowest AUROC of a way over the victims, and what is detected there."""
    name = "PSIM" if way == PUBLISHED else way
    its = [quality for quality in found if (quality.way, quality.column) == (name, column)]
    lowest = min(its, key=lambda quality: quality.auroc, default=None)
    return "-" if lowest is None else f"{lowest.auroc:.3f} / {lowest.detected:.2f}"


if __name__ == "__main__":
    main()
