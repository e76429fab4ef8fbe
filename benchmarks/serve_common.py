"""What the benchmarks of the service share: the process itself, a cheap HTTP client, and what answers should be."""

import asyncio
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from poisonsieve import GuardedClassifier, Verdict

NEAR_GAMMA = 1e-5  # another batch moves the last digits: a text this near to gamma may fall to either side
TOLERANCE = 1e-4


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Service:
    """`poisonsieve serve` in a process of its own."""

    def __init__(self, guard: Path, victim: Path, database: str, log: Path, *options: str) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self.log = log
        code = "from poisonsieve.cli.main import run; run()"
        command = ["serve", guard, "--victim", victim, "--port", self.port, "--db", database, *options]
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, command)], stdout=stream, stderr=stream
            )
        self.memory = psutil.Process(self.process.pid)

    def wait_ready(self, seconds: float = 300) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                sys.exit(f"error: the service ended: {self.log.read_text()[-2000:]}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        sys.exit("error: the service did not become ready")

    def resident(self) -> int:
        """Resident bytes of the process."""
        return int(self.memory.memory_info().rss)

    def end(self, how: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(90)


@contextmanager
def service(guard: Path, victim: Path, database: str, log: Path, *options: str) -> Iterator[Service]:
    started = Service(guard, victim, database, log, *options)
    try:
        started.wait_ready()
        yield started
    finally:
        started.end()


class Connection:
    """One keep-alive connection; costs a tenth of what a full HTTP client costs, so that the load comes cheap."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self.reader is None or self.writer is None or self.writer.is_closing() or self.reader.at_eof():
            self.close()  # the service closes what has been idle for long
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        content = await self.reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), headers, content

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = None


@dataclass
class Expected:
    """Texts, and the verdicts that guard and victim gave on them in this process."""

    texts: list[str]
    verdicts: list[Verdict]

    @classmethod
    def of(cls, guard: Path, victim: Path, texts: list[str]) -> "Expected":
        return cls(texts, GuardedClassifier.from_pretrained(guard, victim).screen(texts))

    def wrong(self, index: int, found: dict[str, Any]) -> str | None:
        """What is wrong with a verdict of the service; None if nothing is."""
        verdict = self.verdicts[index]
        known = verdict.confidence
        if (known is None) != (found["confidence"] is None):
            return "one has a confidence, the other has none"
        if known is not None and abs(found["confidence"] - known) > TOLERANCE:
            return f"confidence {found['confidence']} instead of {known}"
        near = known is not None and abs(known - verdict.gamma) < NEAR_GAMMA
        if found["rejected"] != verdict.rejected:
            return None if near else f"rejected is {found['rejected']} instead of {verdict.rejected}"
        if found["reason"] != verdict.reason:
            return f"reason {found['reason']} instead of {verdict.reason}"
        if (
            verdict.score is not None
            and abs(found["score"] - verdict.score) > TOLERANCE
            and found["label"] == verdict.label
        ):
            return f"score {found['score']} instead of {verdict.score}"
        if found["label"] != verdict.label and (verdict.score is None or verdict.score > 0.5 + TOLERANCE):
            return f"label {found['label']} instead of {verdict.label}"
        return None


class Chooser:
    """Requests of a few texts each, at random but the same every time."""

    def __init__(
        self, expected: Expected, per_request: int, seed: int, *, rejected_share: float | None = None
    ) -> None:
        self._rng = random.Random(seed)
        self._per_request = per_request
        self._share = rejected_share
        everything = range(len(expected.texts))
        self._all = list(everything)
        self._rejected = [index for index in everything if expected.verdicts[index].rejected]
        self._texts = expected.texts

    def __call__(self) -> tuple[list[int], bytes]:
        chosen = [self._one() for _ in range(self._per_request)]
        return chosen, json.dumps({"texts": [self._texts[index] for index in chosen]}).encode()

    def _one(self) -> int:
        if self._share is not None and self._rejected and self._rng.random() < self._share:
            return self._rng.choice(self._rejected)
        return self._rng.choice(self._all)


def recorded(database: str) -> dict[str, int]:
    """Request id -> its records in the quarantine."""
    from sqlalchemy import func, select

    from poisonsieve.serve.tables import open_database, records

    engine = open_database(database, create=False)
    with engine.connect() as connection:
        rows = connection.execute(select(records.c.request_id, func.count()).group_by(records.c.request_id)).all()
    engine.dispose()
    return {row[0]: row[1] for row in rows}


@contextmanager
def working_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="poisonsieve-bench-") as folder:
        yield Path(folder)


def texts_for(source: str, count: int, trigger: str | None) -> list[str]:
    """Texts of a data set; with a trigger, as many again that carry it."""
    from poisonsieve import load_dataset

    clean = list(load_dataset(source)["text"])[:count]
    if trigger is None:
        return clean
    rng = random.Random(0)
    triggered = []
    for text in clean:
        words = text.split()
        words.insert(rng.randint(0, len(words)), trigger)
        triggered.append(" ".join(words))
    return clean + triggered


def write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(value, indent=2))
