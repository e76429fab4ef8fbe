"""The process is killed under load, again and again: what was answered is on record. And it is stopped politely."""

import random
import signal
import threading
import time

import httpx
import pytest
from serving import DATABASES, make_database

pytest_plugins = ["serving"]


class Load:
    """Clients that send rejected and passed texts, and remember which answers they got whole."""

    def __init__(self, url, texts, clients=6):
        self.answered = []  # (request id, number of rejected texts in it)
        self.statuses = []
        self.unanswered = 0
        self._stop = threading.Event()
        self._texts = texts
        self._threads = [threading.Thread(target=self._run, args=(url, number)) for number in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _run(self, url, number):
        rng = random.Random(number)
        with httpx.Client(base_url=url, timeout=30) as client:
            while not self._stop.is_set():
                chosen = rng.sample(self._texts["passed"], 2) + rng.sample(self._texts["rejected"], rng.randint(1, 3))
                try:
                    answer = client.post("/v1/classify", json={"texts": chosen})
                    content = answer.json()
                except httpx.TransportError:
                    self.unanswered += 1
                    time.sleep(0.01)
                    continue
                self.statuses.append(answer.status_code)
                if answer.status_code == 200:
                    rejected = sum(verdict["rejected"] for verdict in content["verdicts"])
                    self.answered.append((content["request_id"], rejected))


def recorded(database):
    """Request id -> number of its records."""
    from sqlalchemy import func, select

    from poisonsieve.serve.tables import open_database, records

    engine = open_database(database, create=False)
    with engine.connect() as connection:
        rows = connection.execute(select(records.c.request_id, func.count()).group_by(records.c.request_id)).all()
    engine.dispose()
    return {row[0]: row[1] for row in rows}


@pytest.mark.parametrize("kind", DATABASES)
def test_what_was_answered_before_kill_9_is_on_record(kind, request, commands, served_guard, tiny, texts, tmp_path):
    database = make_database(request, kind, tmp_path)
    answered = []
    rng = random.Random(7)
    for _ in range(3):
        command = commands(served_guard, tiny("encoder"), database, tmp_path / "log")
        command.wait_ready()
        with Load(command.url, texts) as load:
            until = time.monotonic() + 30
            while len(load.answered) < 20 and time.monotonic() < until:
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.2))
            assert command.end(signal.SIGKILL) == -signal.SIGKILL
        assert len(load.answered) >= 20 and load.unanswered
        answered += load.answered
    found = recorded(database)
    assert {request: found.get(request) for request, _ in answered} == dict(answered)


def test_sigterm_answers_what_was_accepted(commands, served_guard, tiny, texts, tmp_path):
    database = f"sqlite:///{tmp_path / 'q.sqlite'}"
    command = commands(served_guard, tiny("encoder"), database, tmp_path / "log", "--set", "max_text_chars=500")
    command.wait_ready()
    many = (texts["passed"] * 40)[:252] + texts["rejected"][:4]
    outcome = {}

    def ask():
        outcome["answer"] = httpx.post(f"{command.url}/v1/classify", json={"texts": many}, timeout=60)

    thread = threading.Thread(target=ask)
    thread.start()
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if httpx.get(f"{command.url}/v1/stats").json()["queue_length"]:
            break
    else:
        pytest.fail("the request never got into the queue")
    code = command.end(signal.SIGTERM)
    thread.join(60)
    assert outcome["answer"].status_code == 200
    assert len(outcome["answer"].json()["verdicts"]) == 256
    assert recorded(database) == {outcome["answer"].json()["request_id"]: 4}
    assert code in (0, -signal.SIGTERM)
    assert "Traceback" not in command.log.read_text()
    from poisonsieve.guard.folder import digest as guard_digest
    from poisonsieve.serve.quarantine import Quarantine
    from poisonsieve.serve.tables import open_database

    engine = open_database(database)
    assert Quarantine(engine).passed(guard_digest(served_guard)) == 252  # the counts were written too
    engine.dispose()
