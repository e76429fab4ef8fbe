"""Whatever a database says, the answer is that it cannot be reached, and none of its words are repeated."""

import os
import sqlite3

import pytest
import sqlalchemy.exc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import make_database, serving

from poisonsieve.errors import QuarantineError
from poisonsieve.serve.quarantine import Quarantine
from poisonsieve.serve.tables import open_database, records

pytest_plugins = ["serving"]

UNREACHABLE = "the quarantine cannot be reached, so the verdicts could not be recorded; try again"


def kinds_of(kind):
    return {kind}.union(*(kinds_of(each) for each in kind.__subclasses__()))


SQL_ERRORS = [each for each in kinds_of(sqlalchemy.exc.SQLAlchemyError) if each.__module__ == "sqlalchemy.exc"]
#: Every error that SQLAlchemy has, and that of a record that cannot be one.
ERRORS = [*sorted(SQL_ERRORS, key=lambda each: each.__name__), QuarantineError]


def made(kind):
    """An error of this kind that quotes a secret, however it is made."""
    error = kind.__new__(kind)
    Exception.__init__(error, "frobnicate")
    error.orig = sqlite3.DatabaseError("frobnicate")
    return error


def review(served):
    return [
        served.http.get("/v1/quarantine"),
        served.http.get("/v1/quarantine/1"),
        served.http.post("/v1/quarantine/1/decision", json={"decision": "poison"}),
    ]


def assert_unreachable(answers):
    for answer in answers:
        assert (answer.status_code, answer.json()) == (503, {"detail": UNREACHABLE}), answer.text
        assert answer.headers["retry-after"] == "5"


@pytest.fixture(scope="module")
def served(guarded, served_guard, request, tmp_path_factory):
    with serving(guarded, make_database(request, "sqlite", tmp_path_factory.mktemp("damaged"))) as running:
        yield running


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_database_is_a_503_everywhere(kind, served, texts, monkeypatch, caplog):
    def failing(*args, **kwargs):
        raise made(kind)

    for method in ("add", "find", "get", "decide"):
        monkeypatch.setattr(Quarantine, method, failing)
    answers = [*review(served), served.http.post("/v1/screen", json={"texts": texts["rejected"][:1]})]
    monkeypatch.undo()
    assert_unreachable(answers)
    assert "frobnicate" not in caplog.text
    assert "the quarantine cannot be reached: " in caplog.text


@pytest.fixture
def written(tmp_path):
    """The path of a quarantine with a few hundred records."""
    path = tmp_path / "q.sqlite"
    engine = open_database(str(path))
    names = [column.name for column in records.columns if not column.nullable and column.name != "id"]
    row = {name: 0 if records.c[name].type.python_type in (int, float) else "x" * 50 for name in names}
    Quarantine(engine).add([row] * 300, {})
    engine.dispose()
    return path


@pytest.mark.parametrize("kept", [0, 100, 4096])
def test_a_file_that_is_overwritten_under_the_service(kept, guarded, served_guard, written, texts):
    with serving(guarded, str(written), commit_timeout_s=5) as served:
        assert served.http.get("/v1/quarantine").json()["total"] == 300
        for file in (written, written.with_name("q.sqlite-wal")):
            size = max(240_000, file.stat().st_size)
            with file.open("r+b") as stream:
                stream.seek(kept)
                stream.write(os.urandom(size))
        served.service.quarantine.engine.dispose()  # what a connection has in memory, it may still show
        assert_unreachable(review(served))
        assert_unreachable([served.http.post("/v1/screen", json={"texts": texts["rejected"][:1]})])
        assert served.http.post("/v1/screen", json={"texts": texts["passed"][:1]}).status_code == 200
        assert served.http.get("/healthz").status_code == 200


@pytest.mark.parametrize("kept", [0, 100, 4096])
def test_a_damaged_file_is_one_line_to_every_command(kept, written, served_guard, tiny, cli, tmp_path):
    with written.open("r+b") as stream:
        stream.seek(kept)
        stream.write(os.urandom(written.stat().st_size - kept))
    for call in (
        ["recalibrate", served_guard, "--db", written, "--out", tmp_path / "new"],
        ["serve", served_guard, "--victim", tiny("encoder"), "--db", written, "--port", "0"],
    ):
        code, out, err = cli(*call)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert err.startswith("error: ")
        assert "quarantine" in err
    assert not (tmp_path / "new").exists()


VALUES = st.none() | st.text(max_size=5) | st.binary(max_size=5) | st.integers(-(2**63), 2**63 - 1) | st.floats()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(column=st.sampled_from([column.name for column in records.columns if column.name != "id"]), value=VALUES)
def test_a_record_that_cannot_be_one_is_no_error_of_ours(column, value, served, tmp_path):
    path = served.service.quarantine.engine.url.database
    served.http.post("/v1/screen", content=b'{"text": "\\ud800"}', headers={"Content-Type": "application/json"})
    newest = served.http.get("/v1/quarantine?decision=all&size=1").json()["items"][0]["id"]
    with sqlite3.connect(path) as plain:
        try:
            plain.execute(f"UPDATE {records.name} SET {column} = ? WHERE id = ?", (value, newest))
        except sqlite3.IntegrityError:
            return
    try:
        for address in ("/v1/quarantine?decision=all&size=1", f"/v1/quarantine/{newest}"):
            answer = served.http.get(address)
            assert answer.status_code in (200, 503), answer.text
            if answer.status_code == 503:
                assert answer.json() == {"detail": UNREACHABLE}
    finally:
        with sqlite3.connect(path) as plain:
            plain.execute(f"DELETE FROM {records.name} WHERE id = ?", (newest,))
        plain.close()


def test_a_postgresql_that_became_a_standby_can_be_read_and_not_written(guarded, served_guard, postgres, texts):
    where = postgres.database()
    name = where.partition("?")[0].rpartition("/")[2]
    with serving(guarded, where) as served:
        rejected = {"texts": texts["rejected"][:1]}
        assert served.http.post("/v1/screen", json=rejected).status_code == 200
        postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        served.service.quarantine.engine.dispose()
        number = served.http.get("/v1/quarantine").json()["items"][0]["id"]
        assert_unreachable([served.http.post("/v1/screen", json=rejected)])
        decision = {"decision": "poison"}
        assert_unreachable([served.http.post(f"/v1/quarantine/{number}/decision", json=decision)])
        assert served.http.get(f"/v1/quarantine/{number}").json()["decision"] is None
