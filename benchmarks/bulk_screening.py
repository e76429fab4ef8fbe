"""Screens rows by the hundred thousand over Ray Data, and says how much memory that took.

    python benchmarks/bulk_screening.py --rows 100000 --guard guard/ --victim victim/

Without --guard, a random two-layer encoder is guarded by MSP: it says nothing of a guard's quality, and enough of memory,
which does not depend on what the weights are. Verdicts on a sample are compared with those of the plain command's path.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil


class Watch(threading.Thread):
    """The largest sum of unshared memory over this process and all that descend from it, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.largest: dict[str, int] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        """Look once a second."""
        me = psutil.Process()
        while not self.ended.wait(1.0):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    used, name = process.memory_full_info().uss, process.name()
                except psutil.Error:  # it ended meanwhile
                    continue
                total += used
                self.largest[name] = max(self.largest.get(name, 0), used)
            self.peak = max(self.peak, total)


def write_rows(folder: Path, count: int, files: int) -> None:
    """Made-up sentences of 5 to 40 words, the same for the same numbers."""
    words = "the a film plot actor scene very good bad great awful fine poor it was is and with of this".split()
    rng = random.Random(0)
    for number in range(files):
        with (folder / f"part-{number:03}.jsonl").open("w") as stream:
            for _ in range(count // files):
                stream.write(json.dumps({"text": " ".join(rng.choices(words, k=rng.randint(5, 40)))}) + "\n")


def tiny_guard(folder: Path) -> Path:
    """MSP on a random encoder, from the tests' makers."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from conftest import dataset, make_encoder, sentences
    from poisonsieve import Guard
    from poisonsieve.defenses import MSP

    model = make_encoder(folder / "model")
    Guard(MSP(str(model)), frr=0.05).fit(dataset(sentences(400))).save_pretrained(folder / "guard")
    return folder / "guard"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--sample", type=int, default=1000)
    parser.add_argument("--guard", type=Path)
    parser.add_argument("--victim")
    options = parser.parse_args()
    from pyarrow import dataset

    from poisonsieve.guard import GuardedClassifier
    from poisonsieve.guard.bulk import screen_folder

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "inbox").mkdir()
        write_rows(folder / "inbox", options.rows, options.files)
        guard = options.guard or tiny_guard(folder)
        watch = Watch()
        watch.start()
        started = time.perf_counter()
        summary = screen_folder(str(folder / "inbox"), guard, options.victim, folder / "out", {})
        seconds = time.perf_counter() - started
        watch.ended.set()
        watch.join()
        rows = dataset.dataset(folder / "out", format="parquet").to_table().to_pylist()
        sample = random.Random(1).sample(rows, min(options.sample, len(rows)))
        again = GuardedClassifier.from_pretrained(guard, options.victim).screen([row["text"] for row in sample])
        same = sum(row["outcome"] == verdict.outcome for row, verdict in zip(sample, again, strict=True))
        print(
            json.dumps(
                {
                    **summary,
                    "seconds": round(seconds, 1),
                    "input_mb": round(sum(f.stat().st_size for f in (folder / "inbox").iterdir()) / 1e6, 1),
                    "peak_mb_all_processes": round(watch.peak / 1e6),
                    "peak_mb_by_process": {key: round(value / 1e6) for key, value in watch.largest.items()},
                    "sample": len(sample),
                    "same_verdict": same,
                },
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
