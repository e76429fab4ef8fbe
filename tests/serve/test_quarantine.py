"""The quarantine on both databases: what goes in comes out, is found, decided, kept and deleted."""

import os
import sqlite3
import stat
import threading
import time

import pytest

from poisonsieve.errors import ConfigError, QuarantineError
from poisonsieve.serve.quarantine import Quarantine, record_of
from poisonsieve.serve.tables import database_url, meta, open_database, records
from poisonsieve.verdict import Failure, Verdict

pytest_plugins = ["serving"]

DIGEST = "d" * 64
NASTY = [
    "plain",
    "",
    "a\0b",
    "\ud800 lone",
    "\udfff\ud800",
    "\U0001f600 \U0001f469\u200d\U0001f680",
    "\u202eright to left\u202c \u05d0\u05d1",
    "line\nbreak\ttab\r\x01\x7f",
    "quote ' \" ; DROP TABLE poisonsieve_quarantine; --",
    "100% _under_ \\ back",
    "e\u0301 \u00e9",
]


@pytest.fixture
def engine(database):
    made = open_database(database)
    yield made
    made.dispose()


@pytest.fixture
def store(engine):
    return Quarantine(engine)


def row(text, confidence=0.9, *, index=0, digest=DIGEST, hash_only=False, max_chars=1000, request_id="r"):
    if confidence is None:
        verdict = Verdict.not_scored(Failure("no_tokens", "no tokens in the text"), gamma=0.7)
    else:
        verdict = Verdict.scored(confidence, gamma=0.7, flagged=True, truncated=False)
    return record_of(
        text,
        verdict,
        request_id=request_id,
        index=index,
        guard_digest=digest,
        hash_only=hash_only,
        max_chars=max_chars,
    )


def numbers(passed=0, poisoned=0, not_scored=0):
    return {DIGEST: {"passed": passed, "poisoned": poisoned, "not_scored": not_scored}}


def test_every_text_comes_out_as_it_went_in(store):
    store.add([row(text, index=i) for i, text in enumerate(NASTY)], {})
    found = store.find(size=100)
    assert found.total == len(NASTY)
    assert [item["text"] for item in reversed(found.items)] == NASTY
    assert [item["text_index"] for item in reversed(found.items)] == list(range(len(NASTY)))
    item = found.items[-1]
    assert store.get(item["id"]) == item
    assert (item["confidence"], item["gamma"], item["reason"]) == (0.9, 0.7, "poisoned")
    assert (item["outcome"], item["cause"]) == ("poisoned", "above_gamma")
    assert (item["decision"], item["decided_at"], item["note"]) == (None, None, None)
    assert item["time"].endswith("+00:00")


def test_the_hash_is_of_the_whole_text_and_the_text_can_be_left_out(store):
    import hashlib

    long = "x" * 5000
    store.add([row(long, max_chars=100), row("secret words", hash_only=True)], {})
    hashed, cut = store.find().items
    assert (cut["text"], cut["text_chars"]) == ("x" * 100, 5000)
    assert cut["text_sha256"] == hashlib.sha256(long.encode()).hexdigest()
    assert (hashed["text"], hashed["text_chars"]) == (None, 12)
    assert hashed["text_sha256"] == hashlib.sha256(b"secret words").hexdigest()


def test_hash_only_leaves_no_text_in_the_file(tmp_path):
    engine = open_database(str(tmp_path / "q.sqlite"))
    Quarantine(engine).add([row("a very secret text", hash_only=True), row("nul \0 secret", hash_only=True)], {})
    engine.dispose()
    for path in tmp_path.iterdir():
        assert b"secret" not in path.read_bytes()


@pytest.mark.parametrize(
    ("contains", "count"), [("plain", 1), ("PLAIN", 1), ("%", 1), ("_under_", 1), ("\\", 1), ("a\0b", 1), ("none", 0)]
)
def test_a_part_of_a_text_is_found_literally(contains, count, store):
    store.add([row(text) for text in NASTY], {})
    assert store.find(contains=contains).total == count


def test_pages_hold_all_records_once_newest_first(store):
    store.add([row(str(i)) for i in range(25)], {})
    pages = [store.find(page=page, size=10) for page in (1, 2, 3, 4)]
    assert [page.total for page in pages] == [25] * 4
    assert [item["text"] for page in pages for item in page.items] == [str(i) for i in reversed(range(25))]


def test_a_decision_is_kept_changed_and_taken_back(store):
    store.add([row("one"), row("two"), row("three")], {})
    three, two, _ = store.find().items
    decided = store.decide(two["id"], "poison", "the word \u05d0")
    assert (decided["decision"], decided["note"]) == ("poison", "the word \u05d0")
    assert decided["decided_at"] >= decided["time"]
    store.decide(three["id"], "false_alarm", None)

    def count(which):
        return store.find(which=which).total

    assert [count(which) for which in ("open", "poison", "false_alarm", "all")] == [1, 1, 1, 3]
    store.decide(two["id"], "false_alarm", None)
    taken_back = store.decide(three["id"], None, None)
    assert (taken_back["decision"], taken_back["decided_at"]) == (None, None)
    assert [count(which) for which in ("open", "poison", "false_alarm", "all")] == [2, 0, 1, 3]
    assert store.decide(999_999, "poison", None) is None
    assert store.get(999_999) is None


def test_what_is_too_old_or_too_much_goes_oldest_first(store):
    old = [{**row(f"old {i}"), "time_us": (time.time_ns() // 1000) - 3 * 86_400_000_000} for i in range(4)]
    store.add([*old, *(row(f"new {i}") for i in range(6))], {})
    assert store.retain(max_records=None, max_days=None) == 0
    assert store.retain(max_records=8, max_days=None) == 2
    assert store.retain(max_records=8, max_days=1) == 2
    assert store.retain(max_records=5, max_days=1) == 1
    assert [item["text"] for item in store.find(which="all").items] == [f"new {i}" for i in (5, 4, 3, 2, 1)]
    before = store.find(which="all").items[0]["id"]
    store.retain(max_records=1, max_days=None)
    store.add([row("next")], {})
    assert store.find(which="all").items[0]["id"] == before + 1  # no id is used twice


def test_counts_of_several_writers_add_up(store, engine):
    def write():
        mine = Quarantine(engine)
        for _ in range(20):
            mine.add([row("x")], numbers(passed=3, poisoned=1))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert store.passed(DIGEST) == 4 * 20 * 3
    assert store.passed("another") == 0
    assert store.find(which="all").total == 80


def test_only_this_guards_scored_and_decided_records_count_for_gamma(store):
    store.add([row("a", 0.8), row("b", 0.9), row("c", None), row("d", 0.95, digest="other"), row("e", 0.85)], {})
    for item in store.find(which="all").items:
        if item["text"] != "e":
            store.decide(item["id"], "poison" if item["text"] == "b" else "false_alarm", None)
    assert sorted((confidence, decision) for _, confidence, decision in store.decided(DIGEST)) == [
        (0.8, "false_alarm"),
        (0.9, "poison"),
    ]
    assert store.open_count(DIGEST) == 1


def test_a_database_is_opened_again_and_by_many_at_once(database):
    failures = []

    def open_it():
        try:
            engine = open_database(database)
            Quarantine(engine).add([row("x")], {})
            engine.dispose()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    engine = open_database(database, create=False)
    assert Quarantine(engine).find(which="all").total == 6
    engine.dispose()


def test_a_newer_schema_is_refused_and_left_alone(database):
    engine = open_database(database)
    with engine.begin() as connection:
        connection.execute(meta.update().values(value="2"))
    engine.dispose()
    with pytest.raises(QuarantineError, match="schema version 2, this poisonsieve reads 1; update"):
        open_database(database)


def before_causes(database):
    """A quarantine as the version before made it, with a record of each kind."""
    engine = open_database(database)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {records.name} DROP COLUMN cause")
        write_as_before(connection, "above", 0.9)
        write_as_before(connection, "victim", 0.5)
        write_as_before(connection, "unscored", None)
        connection.exec_driver_sql(
            "INSERT INTO poisonsieve_counts (guard_digest, day, passed, rejected, unscorable)"
            f" VALUES ('{DIGEST}', '2020-01-01', 7, 2, 1)"
        )
    engine.dispose()


def write_as_before(connection, text, confidence):
    connection.exec_driver_sql(
        "INSERT INTO poisonsieve_quarantine (time_us, request_id, text_index, text, text_sha256, text_chars, confidence,"
        f" gamma, reason, guard_digest) VALUES (1, 'r', 0, '{text}', '', 1, {confidence or 'NULL'}, 0.7, 'some words',"
        f" '{DIGEST}')"
    )


def causes(store):
    return {item["text"]: (item["outcome"], item["cause"]) for item in store.find(which="all").items}


@pytest.mark.parametrize("create", [True, False])
def test_a_quarantine_of_the_version_before_is_opened_with_its_records(create, database):
    before_causes(database)
    engine = open_database(database, create=create)
    store = Quarantine(engine)
    told = {
        "above": ("poisoned", "above_gamma"),
        "victim": ("not_scored", "victim"),
        "unscored": ("not_scored", "other"),
    }
    assert causes(store) == told
    store.add([row("new", None)], numbers(passed=5, not_scored=1))
    assert causes(store) == {**told, "new": ("not_scored", "no_tokens")}
    assert store.passed(DIGEST) == 12
    assert store.open_count(DIGEST) == 1
    engine.dispose()
    engine = open_database(database)  # what was added is not added again
    assert len(causes(Quarantine(engine))) == 4
    engine.dispose()


def test_a_replica_of_another_version_can_write_beside_this_one(store, engine):
    """Of the version before, which names no cause, and of a later one with causes of its own."""
    with engine.begin() as connection:
        write_as_before(connection, "before", 0.9)
        connection.execute(records.insert(), [{**row("after", None), "cause": "unheard of"}])
    assert causes(store) == {"before": ("poisoned", "above_gamma"), "after": ("not_scored", "other")}


def test_no_tables_are_made_where_none_were_asked_for(database, tmp_path):
    with pytest.raises(QuarantineError, match="no quarantine"):
        open_database(database, create=False)


@pytest.mark.parametrize("where", ["mysql://u:hunter22@h/d", "sqlite://", "sqlite:///:memory:", "://", "oracle://x"])
def test_what_is_no_database_is_refused(where):
    with pytest.raises((ConfigError, QuarantineError)) as refused:
        open_database(where)
    assert "hunter22" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_server_that_is_not_there_is_one_line_without_the_password():
    with pytest.raises(QuarantineError) as refused:
        open_database("postgresql://someone:hunter22@127.0.0.1:9/nowhere")
    assert "hunter22" not in str(refused.value)
    assert "127.0.0.1:9/nowhere" in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "where",
    [
        "postgresql://u:hunter22@h:port/d",
        "postgresql://u:hunter22@127.0.0.1:9/d?no_such_option=hunter22",
        "sqlite:///{folder}/q.sqlite?timeout=hunter22",
        "postgresql://u@127.0.0.1:9/d?password=hunter22",
        "{folder}/" + "x" * 300,
    ],
)
def test_an_address_that_cannot_be_is_one_line(where, tmp_path):
    for create in (True, False):
        with pytest.raises((ConfigError, QuarantineError)) as refused:
            open_database(where.format(folder=tmp_path), create=create)
        assert "hunter22" not in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and no database at all\n" * 50)
    with pytest.raises(QuarantineError, match=r"notes\.txt"):
        open_database(str(path))
    assert path.read_text().startswith("these are my notes")


def test_the_file_is_for_its_owner_alone_and_commits_reach_the_disk(tmp_path):
    path = tmp_path / "q.sqlite"
    old = os.umask(0o022)
    try:
        engine = open_database(f"sqlite:///{path}")
        Quarantine(engine).add([row("x")], {})
    finally:
        os.umask(old)
    for file in (path, path.with_name("q.sqlite-wal")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    engine.dispose()
    with sqlite3.connect(path) as plain:
        assert plain.execute(f"SELECT count(*) FROM {records.name}").fetchone() == (1,)


def test_postgresql_urls_get_the_driver_that_is_tested():
    for given in ("postgresql://u@h/d", "postgres://u@h/d", "postgresql+psycopg2://u@h/d"):
        assert database_url(given).drivername == "postgresql+psycopg"
