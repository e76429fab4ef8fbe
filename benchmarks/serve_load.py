"""The service under load: is every answer right, what batching brings, and what happens at four times the capacity.

    python benchmarks/serve_load.py --guard guard/ --victim victim/ --out load.json

Run it on an idle machine. Verdicts are computed in this process first; every answer of the service is held against them.

1. one at a time: one client that waits for each answer, on a service that batches nothing.
2. unbatched: all clients, on the same service.
3. batched: all clients, on a service as it comes. Its texts a second are the capacity.
4. overload: requests arrive at four times that capacity, whatever the service does.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ratios import machine
from serve_common import (
    Chooser,
    Connection,
    Expected,
    Service,
    recorded,
    say,
    service,
    texts_for,
    working_folder,
    write,
)

QUEUE = 256  # in the overload phase: short, so that a queue that is full means a wait of seconds, not minutes
UNBATCHED = ("--max-batch", "1", "--max-wait-ms", "0")


@dataclass
class Outcome:
    """What a phase came to."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    texts: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)  # request id -> rejected texts that were answered
    without_retry_after: int = 0
    memory: list[int] = field(default_factory=list)
    not_sent: int = 0

    def add(
        self, expected: Expected, chosen: list[int], status: int, headers: dict[str, str], content: bytes
    ) -> None:
        self.statuses[status] += 1
        if status != 200:
            self.without_retry_after += status == 503 and "retry-after" not in headers
            return
        answer = json.loads(content)
        if len(answer["verdicts"]) != len(chosen):
            self.wrong.append(f"{len(answer['verdicts'])} verdicts for {len(chosen)} texts")
            return
        self.wrong += [
            problem
            for index, verdict in zip(chosen, answer["verdicts"], strict=True)
            if (problem := expected.wrong(index, verdict))
        ]
        self.texts += len(chosen)
        rejected = sum(verdict["rejected"] for verdict in answer["verdicts"])
        if rejected:
            self.rejected[answer["request_id"]] = rejected

    def to_dict(self) -> dict[str, Any]:
        ordered = sorted(self.latencies)
        return {
            "seconds": self.seconds,
            "texts_per_s": self.texts / self.seconds,
            "requests": sum(self.statuses.values()),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "share_503": self.statuses[503] / max(1, sum(self.statuses.values())),
            "503_without_retry_after": self.without_retry_after,
            "wrong_answers": len(self.wrong),
            "first_wrong": self.wrong[:3],
            "lost_answers": dict(self.lost),
            "not_sent": self.not_sent,
            "latency_ms": {
                f"p{p}": 1000 * ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 95, 99)
            }
            if ordered
            else None,
            "memory_mib": memory_of(self.memory),
        }


def memory_of(samples: list[int]) -> dict[str, float] | None:
    """Resident memory over a phase: the median of its second quarter against that of its last."""
    if len(samples) < 8:
        return None
    quarter = len(samples) // 4
    mib = [sample / 2**20 for sample in samples]
    early, late = statistics.median(mib[quarter : 2 * quarter]), statistics.median(mib[-quarter:])
    return {
        "first": mib[0],
        "highest": max(mib),
        "second_quarter": early,
        "last_quarter": late,
        "growth": late - early,
    }


async def closed(
    running: Service, expected: Expected, options: argparse.Namespace, clients: int, seconds: float
) -> Outcome:
    """Each client sends its next request when it has the answer to the last."""
    outcome = Outcome()
    until = time.monotonic() + seconds

    async def client(number: int) -> None:
        connection = Connection(running.port)
        choose = Chooser(expected, options.texts_per_request, number)
        while time.monotonic() < until:
            await ask(connection, choose, expected, outcome)
        connection.close()

    started = time.monotonic()
    watching = asyncio.create_task(watch(running, outcome))
    await asyncio.gather(*(client(number) for number in range(clients)))
    outcome.seconds = time.monotonic() - started
    watching.cancel()
    return outcome


async def open_loop(
    running: Service, expected: Expected, options: argparse.Namespace, rate: float, seconds: float
) -> Outcome:
    """Requests start at a steady rate, on free connections, whether or not the earlier ones are answered."""
    outcome = Outcome()
    free: list[Connection] = []
    made = 0
    tasks: set[asyncio.Task[None]] = set()
    choose = Chooser(expected, options.texts_per_request, 99)

    async def one(connection: Connection) -> None:
        await ask(connection, choose, expected, outcome)
        free.append(connection)

    watching = asyncio.create_task(watch(running, outcome))
    started = time.monotonic()
    number = 0
    while (now := time.monotonic() - started) < seconds:
        while number < now * rate:
            number += 1
            if not free and made >= options.connections:
                outcome.not_sent += 1
                continue
            made += not free
            task = asyncio.create_task(one(free.pop() if free else Connection(running.port)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    outcome.seconds = time.monotonic() - started
    watching.cancel()
    for connection in free:
        connection.close()
    return outcome


async def ask(connection: Connection, choose: Chooser, expected: Expected, outcome: Outcome) -> None:
    chosen, body = choose()
    started = time.monotonic()
    try:
        status, headers, content = await asyncio.wait_for(connection.post("/v1/classify", body), 60)
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        outcome.lost[type(error).__name__] += 1
        connection.close()
        return
    if status == 200:
        outcome.latencies.append(time.monotonic() - started)
    outcome.add(expected, chosen, status, headers, content)


async def watch(running: Service, outcome: Outcome) -> None:
    while True:
        outcome.memory.append(running.resident())
        await asyncio.sleep(0.5)


def main() -> None:
    options = parse()
    say("verdicts in this process")
    expected = Expected.of(options.guard, options.victim, texts_for(options.texts, options.rows, options.trigger))
    phases: dict[str, Outcome] = {}
    with working_folder() as folder:
        database = options.db or f"sqlite:///{folder / 'quarantine.sqlite'}"
        common = (options.guard, options.victim, database, folder / "log", *options.option)
        with service(*common, *UNBATCHED) as running:
            say("one at a time")
            asyncio.run(closed(running, expected, options, 1, min(5.0, options.seconds)))  # warms up
            phases["one_at_a_time"] = asyncio.run(closed(running, expected, options, 1, options.seconds))
            say("unbatched")
            phases["unbatched"] = asyncio.run(closed(running, expected, options, options.clients, options.seconds))
        with service(*common) as running:
            say("batched")
            asyncio.run(closed(running, expected, options, options.clients, min(5.0, options.seconds)))
            phases["batched"] = asyncio.run(closed(running, expected, options, options.clients, options.seconds))
        capacity = phases["batched"].texts / phases["batched"].seconds
        rate = options.overload * capacity / options.texts_per_request
        with service(*common, "--max-queue", str(QUEUE)) as running:
            say(f"overload: {rate:.0f} requests/s")
            asyncio.run(closed(running, expected, options, options.clients, min(5.0, options.seconds)))
            phases["overload"] = asyncio.run(open_loop(running, expected, options, rate, options.overload_seconds))
        on_record = recorded(database)
    missing = {
        name: sum(on_record.get(request) != count for request, count in phase.rejected.items())
        for name, phase in phases.items()
    }
    one, unbatched, batched = (phases[name].to_dict() for name in ("one_at_a_time", "unbatched", "batched"))
    report = {
        "ratio_batched_to_one_at_a_time": batched["texts_per_s"] / one["texts_per_s"],
        "ratio_batched_to_unbatched": batched["texts_per_s"] / unbatched["texts_per_s"],
        "capacity_texts_per_s": capacity,
        "overload_requests_per_s": rate,
        "answered_but_not_on_record": missing,
        "phases": {name: phase.to_dict() for name, phase in phases.items()},
        "settings": {key: str(value) for key, value in vars(options).items()},
        "texts": {"n": len(expected.texts), "rejected": sum(verdict.rejected for verdict in expected.verdicts)},
        "machine": machine(),
    }
    write(options.out, report)
    bad = [name for name, phase in phases.items() if phase.wrong or phase.lost or missing[name]]
    if bad:
        sys.exit(f"error: wrong, lost or unrecorded answers in: {', '.join(bad)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The service under load.")
    parser.add_argument("--guard", type=Path, required=True)
    parser.add_argument("--victim", type=Path, required=True)
    parser.add_argument("--texts", default="packaged:product-reviews#test", help="data set")
    parser.add_argument("--rows", type=int, default=700, help="texts of it")
    parser.add_argument("--trigger", default=None, help="add each text once more with this word in it")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--overload", type=float, default=4.0, help="times the capacity")
    parser.add_argument("--overload-seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=900, help="at most, in the overload phase")
    parser.add_argument("--texts-per-request", type=int, default=1)
    parser.add_argument("--db", default=None, help="an empty database. Default: SQLite in a temporary folder")
    parser.add_argument("--option", action="append", default=[], help="passed on to `poisonsieve serve`")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
