"""How much longer a command takes beside other work: one busy processor, or the same command a second time.

    python benchmarks/beside_other_work.py                       # one training, 3 rounds: on a quiet machine, minutes
    python benchmarks/beside_other_work.py --demo --rounds 1 --as-chosen     # the whole demo, 15 minutes
    python benchmarks/beside_other_work.py --json > beside.json

Each round runs every case once, in turn, so that other load hits all alike:

- alone, beside a process that never waits, and two at once (the time of the slower one);
- as the command chooses its threads, and as torch alone would: a thread for each processor, which spins while it waits.

Given are seconds, medians over the rounds, and their ratios to the same command alone, chosen in the same way.
"""

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from poisonsieve import load_dataset
from ratios import machine, say

#: Makes the command that leaves its result in a folder.
Command = Callable[[Path], list[str]]

CASES = ("alone", "beside a busy processor", "two at once")
# What libgomp does without a policy: it turns 300,000 times before a thread goes to sleep.
WAYS = {"as chosen": {}, "as torch": {"OMP_NUM_THREADS": str(os.cpu_count()), "GOMP_SPINCOUNT": "300000"}}


def main() -> None:
    options = parse()
    ways = ["as chosen"] if options.as_chosen else [*WAYS]
    seconds: dict[tuple[str, str], list[float]] = {(way, case): [] for case in CASES for way in ways}
    with tempfile.TemporaryDirectory(prefix="poisonsieve-beside-") as name:
        folder = Path(name)
        command = demo if options.demo else training(folder, options.rows)
        for round_, (case, way) in itertools.product(range(options.rounds), itertools.product(CASES, ways)):
            took, threads = run(case, WAYS[way], command, folder / f"{round_}-{case}-{way}")
            seconds[way, case].append(took)
            say(f"{case}, {way}: {took:.1f} s ({'; '.join(threads) or 'threads were given'})")
    report = report_of(seconds, vars(options))
    print(json.dumps(report, indent=2) if options.json else table_of(report))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=400, help="training rows of the one training")
    parser.add_argument("--demo", action="store_true", help="`poisonsieve demo` instead of one training")
    parser.add_argument(
        "--as-chosen", action="store_true", help="leave out torch's own threads, which take far longer"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args()


def demo(out: Path) -> list[str]:
    return ["demo", "--out", str(out)]


def training(folder: Path, rows: int) -> Command:
    """Full tuning of the packaged encoder for one epoch, on so many packaged reviews."""
    for split, count in (("train", rows), ("dev", 100)):
        data = load_dataset("packaged:product-reviews", split=split)
        data.select(range(min(count, len(data)))).to_json(folder / f"{split}.jsonl")
    data_options = ["--data", str(folder / "train.jsonl"), "--dev", str(folder / "dev.jsonl")]
    return lambda out: [
        "tune",
        "--model",
        "minilm",
        *data_options,
        "--method",
        "full",
        "--epochs",
        "1",
        "--out",
        str(out),
    ]


def run(case: str, variables: dict[str, str], command: Command, out: Path) -> tuple[float, set[str]]:
    """Return the seconds that a case took, and what the commands said of their threads."""
    chosen_before = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in chosen_before} | variables
    with contextlib.ExitStack() as stack:
        if case == "beside a busy processor":
            stack.enter_context(busy())
        started = time.perf_counter()
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "poisonsieve.cli", *command(out.with_name(f"{out.name}-{copy}"))],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for copy in range(2 if case == "two at once" else 1)
        ]
        said = [process.communicate()[1] for process in processes]
        took = time.perf_counter() - started
    for process, errors in zip(processes, said, strict=True):
        if process.returncode:
            sys.exit(errors)
    return took, {line for errors in said for line in errors.splitlines() if " processors" in line}


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Keep one processor busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def report_of(seconds: dict[tuple[str, str], list[float]], settings: dict[str, Any]) -> dict[str, Any]:
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    rows = [
        {
            "threads": way,
            "case": case,
            "seconds": medians[way, case],
            "all_seconds": seconds[way, case],
            "times_alone": medians[way, case] / medians[way, "alone"],
        }
        for way, case in seconds
    ]
    return {"rows": rows, "settings": settings, "machine": machine()}


def table_of(report: dict[str, Any]) -> str:
    lines = ["| threads | case | seconds | times alone |", "|---|---|---|---|"]
    lines += [
        f"| {row['threads']} | {row['case']} | {row['seconds']:.1f} | {row['times_alone']:.2f} |"
        for row in report["rows"]
    ]
    return "\n".join([*lines, "", f"settings: {report['settings']}", f"machine: {report['machine']}"])


if __name__ == "__main__":
    main()
