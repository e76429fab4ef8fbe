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
- the victim, rarity and psim-rarity computed by OpenVINO, where it is installed (`--backend openvino`);
- transformers' pipeline around the bare victim, at its defaults.

Measured of each, all ways in turn and each round begun by another, after one round that is thrown away: the seconds of one
text at a time (rounds of eight texts), of all texts in one call, and of fitting the guard beside those of tuning the victim
on the same rows by its defaults. Given are ratios: the median over the rounds, and the quartiles. Of three guards, also the
texts a second that `poisonsieve serve` answers 64 clients, each of which waits for an answer before it asks again.

Operations are counted, not timed (multiplications and additions of matrix products, a text at a time, so without padding);
the machine's rate is that of one large product of fp32 matrices, timed in the same rounds.

How well each way works is not measured here: the table takes it from --quality, which guard_quality.py writes.
"""

import argparse
import asyncio
import importlib.util
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from poisonsieve.processors import Processors, wait_without_spinning

wait_without_spinning()
PROCESSORS = Processors()

import numpy as np  # noqa: E402 - threads are chosen before torch is imported
import torch  # noqa: E402

from guard_quality import Quality  # noqa: E402
from guard_speed_table import BY_OPENVINO, PIPELINE, PUBLISHED, VICTIM, Row, row_of, table_of  # noqa: E402
from interleaved import in_turn, times_of  # noqa: E402
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
from serve_common import Expected, service  # noqa: E402
from serve_load import closed  # noqa: E402

TUNING, PRODUCT = "tuning", "matrix product"
DETECTORS: dict[str, type[Any]] = {
    "PSIM": PSIM,
    "psim-rarity": PSIMRarity,
    "rarity": OnePassRarity,
    "mahalanobis": Mahalanobis,
    "msp": MSP,
    "cascade": Cascade,
}
FASTER = ("rarity", "psim-rarity")  # of the guards
SERVED = ("psim-rarity", f"psim-rarity{BY_OPENVINO}", f"rarity{BY_OPENVINO}")
CLIENTS = 64
CALIBRATION_ROWS, FRR = 100, 0.05
FEWEST_ROWS = 150  # a cascade holds out a fifth, psim-rarity in it another, and needs 20 of those
BLOCK = 8  # texts of one round of the latency
SIDE = 1024  # of the square matrices whose product gives the machine's rate


@dataclass(frozen=True)
class Ways:
    """What is compared: the victim, the guards in front of it, and their fitting.

    Where OpenVINO computes, the name ends in `BY_OPENVINO`.
    """

    victims: dict[str, Classifier]
    guarded: dict[str, GuardedClassifier]
    fit_seconds: dict[str, list[float]]
    folder: Path

    def guard(self, name: str) -> Path:
        """The folder of a guard; there is one for both backends."""
        return self.folder / "guards" / name.removesuffix(BY_OPENVINO)


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
            ways = prepare(Path(folder), options)
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


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a guard costs, as ratios to the bare victim.")
    parser.add_argument("--model", default="minilm", help="a base model, or a checkpoint with a head")
    parser.add_argument("--data", default="packaged:product-reviews", help="rows with splits train, dev and test")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds of all texts")
    parser.add_argument("--blocks", type=int, default=20, help=f"timed rounds of {BLOCK} texts, one at a time")
    parser.add_argument("--fit-rounds", type=int, default=2, help="timed rounds of fitting and tuning")
    parser.add_argument("--rows", type=int, default=256, help="test rows that are screened")
    parser.add_argument("--fit-rows", type=int, default=900, help="training rows of victim and guards")
    parser.add_argument(
        "--serve-seconds", type=float, default=10, help="seconds that each service is asked for; 0: none"
    )
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
    (folder / "victim").mkdir()
    save_classifier(tuned(options.model, train), folder / "victim")
    guards: dict[str, Guard] = {}

    def fit(name: str, detector: Callable[[Path], Detector]) -> None:
        say(f"fitting {name}")
        guards[name] = Guard(detector(folder / "victim"), frr=FRR).fit(train, calibration=calibration)

    work: dict[str, Callable[[], object]] = {TUNING: partial(tuned, options.model, train)}
    # Each takes seconds, beside which a first time costs little.
    seconds = in_turn(
        work | {name: partial(fit, name, detector) for name, detector in DETECTORS.items()},
        options.fit_rounds,
        thrown=0,
    )
    victims = {VICTIM: load_classifier(folder / "victim")}
    guarded = {name: GuardedClassifier(guard, victims[VICTIM]) for name, guard in guards.items()}
    ways = Ways(victims, guarded, seconds, folder)
    for name in FASTER:
        guards[name].save_pretrained(ways.guard(name))
    if importlib.util.find_spec("openvino") is None:
        say("OpenVINO is not installed (poisonsieve[openvino]), so its rows are left out")
    else:
        compile_faster(ways)
    return ways


def compile_faster(ways: Ways) -> None:
    """Add what OpenVINO computes: the victim, and the faster of the guards."""
    ways.victims[f"{VICTIM}{BY_OPENVINO}"] = load_classifier(ways.folder / "victim").compute_with("openvino")
    for name in FASTER:
        ways.guarded[f"{name}{BY_OPENVINO}"] = GuardedClassifier.from_pretrained(
            ways.guard(name), ways.folder / "victim", backend="openvino"
        )


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
    victim, guarded = ways.victims[VICTIM], ways.guarded
    alone_: dict[str, Callable[[Sequence[str]], object]] = {name: each.score for name, each in ways.victims.items()}
    alone_ |= {name: each.screen for name, each in guarded.items()}
    screening: dict[str, Callable[[Sequence[str]], object]] = {
        PUBLISHED: lambda given: [guarded["PSIM"].screen([text]) for text in given],
        **alone_,
        PIPELINE: pipeline_of(victim),
    }
    say(f"one text at a time: {options.blocks} rounds")
    one_by_one = one_at_a_time(alone_, texts, options.blocks)
    say(f"{len(texts)} texts: {options.rounds} rounds")
    all_at_once: dict[str, Callable[[], object]] = {name: partial(work, texts) for name, work in screening.items()}
    together = in_turn({**all_at_once, PRODUCT: product()}, options.rounds)
    per_second = {name: len(texts) / float(np.median(seconds)) for name, seconds in together.items()}
    rate = 2 * SIDE**3 / float(np.median(together.pop(PRODUCT)))
    one_text, all_texts = times_of(one_by_one, VICTIM), times_of(together, VICTIM)
    fits = times_of(ways.fit_seconds, TUNING)
    counted = operations_of(screening, guarded, texts)
    served = texts_served(ways, texts, options.serve_seconds)
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
            served_per_s=served.get(name),
        )
        for name in in_order(screening)
    ]
    facts = facts_of(victim, texts, rate, ways.fit_seconds[TUNING]) | {"clients": CLIENTS}
    return rows, facts | {"beside_openvino": beside_openvino(one_by_one, together)}


def in_order(names: Iterable[str]) -> list[str]:
    """The victim first, then as given, each with what OpenVINO makes of it."""
    given = list(names)
    plain = sorted((name for name in given if not name.endswith(BY_OPENVINO)), key=lambda name: name != VICTIM)
    return [each for name in plain for each in (name, f"{name}{BY_OPENVINO}") if each in given]


def operations_of(
    screening: dict[str, Callable[[Sequence[str]], object]],
    guarded: dict[str, GuardedClassifier],
    texts: Sequence[str],
) -> dict[str, float]:
    """Operations a text; what OpenVINO computes is not torch's, but the same, and PSIM as published is PSIM."""
    counted = {
        name: alone(work, texts)
        for name, work in screening.items()
        if name != PUBLISHED and not name.endswith(BY_OPENVINO)
    }
    for name, each in guarded.items():
        if name in counted:
            counted[name] += of_distances(each.guard.detector)
    counted[PUBLISHED] = counted["PSIM"]
    return {name: counted[name.removesuffix(BY_OPENVINO)] for name in screening}


def beside_openvino(*timed: dict[str, list[float]]) -> dict[str, list[dict[str, float]]]:
    """How many times as long as the victim alone each guard takes, where OpenVINO computes both."""
    bare = f"{VICTIM}{BY_OPENVINO}"
    ratios = [times_of(seconds, bare) for seconds in timed if bare in seconds]
    names = [f"{name}{BY_OPENVINO}" for name in FASTER]
    return {name: [asdict(each[name]) for each in ratios] for name in names if ratios}


def texts_served(ways: Ways, texts: Sequence[str], seconds: float) -> dict[str, float]:
    """Texts a second that the service answers, with as many threads as this process has."""
    found: dict[str, float] = {}
    if not seconds:
        return found
    for name in (each for each in SERVED if each in ways.guarded):
        say(f"serving {name}")
        options = ["--threads", str(torch.get_num_threads())]
        options += ["--backend", "openvino"] if name.endswith(BY_OPENVINO) else []
        expected = Expected(list(texts), ways.guarded[name].screen(texts))
        database, log = f"sqlite:///{ways.folder / 'quarantine.sqlite'}", ways.folder / "service.log"
        asking = argparse.Namespace(texts_per_request=1)
        with service(ways.guard(name), ways.folder / "victim", database, log, *options) as running:
            asyncio.run(closed(running, expected, asking, CLIENTS, min(5.0, seconds)))  # warms up
            outcome = asyncio.run(closed(running, expected, asking, CLIENTS, seconds))
        if outcome.lost or set(outcome.statuses) != {200}:
            sys.exit(f"error: the service lost answers: {dict(outcome.lost)}, {dict(outcome.statuses)}")
        found[name] = outcome.texts / outcome.seconds
    return found


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


def facts_of(
    victim: Classifier, texts: Sequence[str], rate: float, tuning_seconds: Sequence[float]
) -> dict[str, Any]:
    """What the numbers depend on, and where a pass's time goes beside products."""
    lengths = [len(ids) for ids in victim.encode(texts).ids]
    in_batches = operations(lambda: victim.score(texts))
    width = victim.base.config.hidden_size
    rows = 32 * int(np.median(lengths))
    small = (torch.randn(rows, width), torch.randn(width, width))
    seconds = in_turn(
        {
            "encode": lambda: victim.encode(texts),
            "score": lambda: victim.score(texts),
            "small": lambda: [torch.mm(*small) for _ in range(50)],
        },
        rounds=5,
    )
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return {
        "tokens_median": float(np.median(lengths)),
        "tokens_max": max(lengths),
        "gflop_per_s": rate / 1e9,
        "padding_share": in_batches / len(texts) / alone(victim.score, texts) - 1,
        "encoding_share": medians["encode"] / medians["score"],
        "rate_at_model_size": 50 * 2 * rows * width * width / medians["small"] / rate,
        "tuning_seconds": float(np.median(tuning_seconds)),
    }


if __name__ == "__main__":
    main()
