"""A quarantine file that is taken away under a running service: no answer without a record where it belongs."""

import shutil
import sqlite3
import timeit

import pytest
from serving import serving, wait_for
from test_damaged_database import assert_unreachable, review

from poisonsieve.errors import ConfigError, QuarantineError
from poisonsieve.serve.in_place import require_in_place
from poisonsieve.serve.quarantine import Quarantine
from poisonsieve.serve.tables import open_database

pytest_plugins = ["serving"]


def files(path):
    return sorted(each.name for each in path.parent.iterdir() if each.name.startswith(path.name))


def deleted(path):
    for name in files(path):
        (path.parent / name).unlink()


def moved(path):
    path.rename(path.with_name("moved"))


def moved_with_its_log(path):
    for name in files(path):
        (path.parent / name).rename(path.parent / f"moved-{name}")


def replaced_by_a_copy(path):
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def replaced_by_a_foreign_one(path):
    with sqlite3.connect(path.with_name("other")) as other:
        other.execute("CREATE TABLE x (a)")
    other.close()
    path.with_name("other").replace(path)


def replaced_by_a_folder(path):
    deleted(path)
    path.mkdir()


def its_folder_renamed(path):
    path.parent.rename(path.parent.with_name("renamed"))


def its_log_deleted(path):
    path.with_name(path.name + "-wal").unlink()


WAYS = [
    *(deleted, moved, moved_with_its_log, replaced_by_a_copy, replaced_by_a_foreign_one),
    *(replaced_by_a_folder, its_folder_renamed),
]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "db").mkdir()
    return tmp_path / "db" / "q.sqlite"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_file_that_is_taken_away_is_an_unreachable_quarantine(way, path, guarded, served_guard, texts, caplog):
    with serving(guarded, str(path)) as served:
        rejected = {"texts": texts["rejected"][:1]}
        assert served.http.post("/v1/screen", json=rejected).status_code == 200
        way(path)
        before = files(path) if path.parent.is_dir() else None
        ready = served.http.get("/readyz")
        assert (ready.status_code, ready.json()["quarantine"]) == (200, "down")
        assert_unreachable([served.http.post("/v1/screen", json=rejected)])
        assert_unreachable([*review(served), served.http.post("/v1/screen", json=rejected)])
        assert served.http.get("/readyz").json()["quarantine"] == "down"
        assert before is None or set(files(path)) <= set(before), "nothing is made in its place"
        assert served.http.post("/v1/screen", json={"texts": texts["passed"][:1]}).status_code == 200
        assert served.http.get("/healthz").status_code == 200
    assert "is not where it was opened" in caplog.text


def test_what_is_answered_after_its_log_was_deleted_is_on_record(path, guarded, served_guard, texts):
    """The connections that still hold the log write it back when they close; until then nothing is answered."""
    with serving(guarded, str(path)) as served:
        rejected = {"texts": texts["rejected"][:1]}
        assert served.http.post("/v1/screen", json=rejected).status_code == 200
        its_log_deleted(path)
        answers = [served.http.post("/v1/screen", json=rejected).status_code for _ in range(20)]
        assert set(answers) <= {200, 503}

        def listed():
            answer = served.http.get("/v1/quarantine")
            return answer.status_code == 200 and answer.json()["total"] == 1 + answers.count(200)

        wait_for(listed)


def test_a_service_without_traffic_says_so_too(path, guarded, served_guard):
    with serving(guarded, str(path)) as served:
        deleted(path)
        wait_for(lambda: "poisonsieve_quarantine_up 0.0" in served.http.get("/metrics").text)


def test_a_file_that_is_back_is_used_again_with_what_it_held(path, guarded, served_guard, texts):
    with serving(guarded, str(path)) as served:
        rejected = {"texts": texts["rejected"][:1]}
        served.http.post("/v1/screen", json=rejected)
        moved(path)
        assert_unreachable([served.http.post("/v1/screen", json=rejected)])
        path.with_name("moved").rename(path)
        assert served.http.post("/v1/screen", json=rejected).status_code == 200
        assert served.http.get("/v1/quarantine").json()["total"] == 2
        wait_for(lambda: served.http.get("/readyz").json()["quarantine"] == "up")


def test_an_idle_service_sees_that_the_file_is_back(path, guarded, served_guard):
    with serving(guarded, str(path)) as served:
        moved(path)
        wait_for(lambda: "poisonsieve_quarantine_up 0.0" in served.http.get("/metrics").text)
        path.with_name("moved").rename(path)
        wait_for(lambda: "poisonsieve_quarantine_up 1.0" in served.http.get("/metrics").text)
        assert served.http.get("/readyz").json()["quarantine"] == "up"


def test_what_was_committed_before_the_log_was_deleted_is_kept(path):
    engine = open_database(str(path))
    store = Quarantine(engine)
    store.add([], {"d": {"passed": 3, "poisoned": 0, "not_scored": 0}})
    its_log_deleted(path)
    with pytest.raises(QuarantineError, match=r"q\.sqlite-wal is not where it was opened"):
        store.passed("d")
    assert store.passed("d") == 3
    engine.dispose()


def test_a_file_that_goes_while_a_record_is_committed_is_not_said_to_hold_it(path, monkeypatch):
    engine = open_database(str(path))
    store = Quarantine(engine)
    numbers = {"d": {"passed": 1, "poisoned": 0, "not_scored": 0}}
    store.add([], numbers)
    real = engine.dialect.do_commit

    def late(connection):
        real(connection)
        deleted(path)

    monkeypatch.setattr(engine.dialect, "do_commit", late)
    with pytest.raises(QuarantineError, match="is not where it was opened"):
        store.add([], numbers)
    engine.dispose()


def test_looking_costs_microseconds(path):
    engine = open_database(str(path))
    with engine.connect():
        seconds = min(timeit.repeat(lambda: require_in_place(engine), number=200, repeat=5)) / 200
    assert seconds < 0.001
    engine.dispose()


@pytest.mark.parametrize("name", ["a#b?c%20d.sqlite", "a b.sqlite", "\u00e9\u4e2d.sqlite", "q%s.sqlite"])
def test_any_name_of_a_file_is_opened_as_it_stands(name, tmp_path):
    open_database(str(tmp_path / name)).dispose()
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_file_address_within_an_address_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="uri"):
        open_database(f"sqlite:///file:{tmp_path}/q.sqlite?mode=rwc&uri=true")
    assert list(tmp_path.iterdir()) == []
