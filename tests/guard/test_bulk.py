"""Folders of files screened in pieces: the same verdicts as one file after the other, also for rows that cannot be read."""

import gzip
import json
import os

import pyarrow as pa
import pytest
from pyarrow import dataset as arrow
from pyarrow import parquet

from conftest import dataset, make_encoder, sentences
from poisonsieve import Guard
from poisonsieve.cluster import telling_cause
from poisonsieve.defenses import MSP
from poisonsieve.errors import CheckpointError, ConfigError, DataError
from poisonsieve.guard import bulk
from poisonsieve.records import parquet as records


@pytest.fixture(scope="module")
def guard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guard")
    model = make_encoder(folder / "model")
    Guard(MSP(str(model)), frr=0.2).fit(dataset(sentences(200, seed=5))).save_pretrained(folder / "guard")
    return folder / "guard", str(model)


@pytest.fixture
def inbox(tmp_path):
    """Three files: JSONL with rows that cannot be read, a longer JSONL, and Parquet in a folder of its own."""
    folder = tmp_path / "inbox"
    (folder / "more").mkdir(parents=True)
    texts = [text for text, _ in sentences(90, seed=6)]
    lines = [json.dumps({"text": text}) for text in texts[:30]]
    (folder / "a.jsonl").write_text("\n".join([*lines[:10], "{not json", '{"text": 3}', *lines[10:]]) + "\n")
    (folder / "b.jsonl").write_text("".join(json.dumps({"sentence": text}) + "\n" for text in texts[30:60]))
    parquet.write_table(pa.table({"text": texts[60:]}), folder / "more/c.parquet")
    (folder / "README.txt").write_text("not screened\n")
    return folder


def pieces(files):
    return [row for piece in bulk.rows_of({"file": [str(file) for file in files]}) for row in piece.to_pylist()]


def by_the_command(cli, guard, file):
    """What `screen` says of one file."""
    code, shown, said = cli("screen", guard[0], file, "--victim", guard[1], "--quiet")
    assert code == 0, said
    return [json.loads(line) for line in shown.splitlines()]


def test_the_files_of_a_folder_are_those_that_can_be_screened_in_order(inbox, tmp_path):
    assert [file.name for file in bulk.files_to_screen(inbox)] == ["a.jsonl", "b.jsonl", "c.parquet"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file to screen"):
        bulk.files_to_screen(tmp_path / "empty")


def test_packed_files_are_screened_too_and_shards_only_if_all_are_there(inbox):
    lines = (inbox / "b.jsonl").read_bytes()
    (inbox / "more/d-00000-of-00002.jsonl.gz").write_bytes(gzip.compress(lines))
    with pytest.raises(DataError, match=r"more lacks d-00001-of-00002\.jsonl\.gz"):
        bulk.files_to_screen(inbox)
    (inbox / "more/d-00001-of-00002.jsonl.gz").write_bytes(gzip.compress(lines))
    assert len(pieces(bulk.files_to_screen(inbox))) == 92 + 2 * 30


@pytest.mark.parametrize("name", ["d.jsonl.zst", "more/c.csv.bz2", "b.json", "more/c.txt", "a.jsonl.1"])
def test_texts_that_would_be_left_out_are_named(inbox, name):
    (inbox / name).write_bytes(b"a")
    with pytest.raises(DataError, match=f"holds {name.rpartition('/')[2]}, which would go unread"):
        bulk.files_to_screen(inbox)


def test_a_file_is_read_in_pieces_and_a_bad_row_stops_nothing(inbox, monkeypatch):
    monkeypatch.setattr(bulk, "CHUNK", 7)
    found = list(bulk.rows_of({"file": [str(inbox / "a.jsonl")]}))
    assert [piece.num_rows for piece in found] == [7, 7, 7, 7, 4]
    rows = pieces([inbox / "a.jsonl"])
    assert [row["index"] for row in rows] == list(range(32))
    assert [row["text"] is None for row in rows[9:13]] == [False, True, True, False]
    assert "not JSON" in rows[10]["error"]


def test_a_worker_gives_the_verdicts_of_the_command(guard, inbox, cli):
    """Every column, and the same schema also for a piece in which nothing passed."""
    worker = bulk.Screener(str(guard[0]), guard[1], {}, with_text=True)
    (piece,) = bulk.rows_of({"file": [str(inbox / "a.jsonl")]})
    found = worker(piece).to_pylist()
    for row, wanted in zip(found, by_the_command(cli, guard, inbox / "a.jsonl"), strict=True):
        assert {name: row[name] for name in wanted} == pytest.approx(wanted)
    assert {row["verdict"] for row in found} == {"passed", "rejected"}
    strict = bulk.Screener(str(guard[0]), None, {"gamma": 0.001}, with_text=False)
    nothing = strict(piece)
    assert set(nothing["rejected"].to_pylist()) == {True}
    assert nothing.schema == records.schema(with_text=False).insert(0, pa.field("file", pa.string()))


def test_counts_are_over_what_was_written(guard, inbox, tmp_path):
    worker = bulk.Screener(str(guard[0]), guard[1], {}, with_text=False)
    (tmp_path / "out").mkdir()
    rejected = 0
    for number, piece in enumerate(bulk.rows_of({"file": [str(file) for file in bulk.files_to_screen(inbox)]})):
        table = worker(piece)
        rejected += sum(table["rejected"].to_pylist())
        parquet.write_table(table, tmp_path / f"out/{number}.parquet")
    found = bulk.summary_of(tmp_path / "out")
    assert (found["n"], found["not_scored"], found["rejected"]) == (92, 2, rejected)
    assert found["passed"] + found["poisoned"] + found["not_scored"] == found["n"]


def test_the_command_says_what_ray_needs(guard, inbox, tmp_path, cli):
    assert "give --out" in cli("screen", guard[0], inbox, "--engine", "ray")[2]
    assert "local or ray" in cli("screen", guard[0], inbox, "--engine", "spark", "--out", tmp_path / "out")[2]
    (tmp_path / "out").mkdir()
    (tmp_path / "out/kept").write_text("mine")
    with pytest.raises(ConfigError, match="already exists"):
        bulk.screen_folder(str(inbox), guard[0], None, tmp_path / "out", {})


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("d.jsonl", b'[{"text": "a"}]', "is one JSON list"),
        ("more/d.csv", b"review,label\na,1\n", "no column `text`"),
        ("more/d.csv.gz", b"text\na\n", "is not gzip"),
        ("d.parquet", b"PAR1 and no more", "as Parquet"),
        ("d.tsv", "text\na film\n".encode("utf-16"), "is UTF-16"),
        ("d.ndjson", b'{"text": "a"}\r{"text": "b"}\r', "carriage return alone"),
    ],
)
def test_a_refused_file_is_told_before_ray_is_started(guard, inbox, tmp_path, monkeypatch, name, content, says):
    monkeypatch.setattr(bulk, "connect", lambda *_, **__: pytest.fail("Ray was started"))
    (inbox / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        bulk.screen_folder(str(inbox), guard[0], None, tmp_path / "out", {})
    assert str(inbox / name) in str(caught.value)
    assert says in str(caught.value)
    assert not (tmp_path / "out").exists()


def as_ray_raises(error):
    """As Ray does: an error that is of the user's class and of its own, with the worker's traceback for a message."""

    class TaskError(type(error)):
        cause = error

    raised = TaskError("\x1b[36mray::MapWorker()\x1b[39m\nTraceback (most recent call last):\n  File ...")
    raised.__cause__ = ValueError("in the middle")
    return raised


def test_an_error_out_of_a_worker_is_the_one_that_was_raised_there():
    for error in (DataError("a.jsonl.gz is damaged\nFailed to apply UDF"), ConfigError("no such rate")):
        with pytest.raises(type(error)) as caught, telling_cause():
            raise as_ray_raises(error)
        assert str(caught.value) == str(error).splitlines()[0]
        with pytest.raises(type(error), match=str(error).splitlines()[0]), telling_cause():
            try:
                raise as_ray_raises(error)
            except Exception as own:
                raise RuntimeError("the pipeline failed") from own
    with pytest.raises(RuntimeError, match="a defect"), telling_cause():
        raise RuntimeError("a defect")


def test_a_guard_that_cannot_be_opened_is_told_by_the_first_piece(inbox, tmp_path):
    worker = bulk.Screener(str(tmp_path / "absent"), None, {}, with_text=True)
    (piece,) = bulk.rows_of({"file": [str(inbox / "b.jsonl")]})
    with pytest.raises(CheckpointError, match="absent is no guard folder"):
        worker(piece)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_goes_wrong_in_a_worker_is_one_line(guard, inbox, tmp_path, cli, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    text = b"".join(json.dumps({"text": os.urandom(30).hex()}).encode() + b"\n" for _ in range(30_000))
    packed = gzip.compress(text)
    command = ("--engine", "ray", "--out", tmp_path / "out", "--quiet")
    code, _, said = cli("screen", tmp_path / "absent", inbox, *command)
    assert (code, said.count("Traceback")) == (2, 0)
    assert f"error: {tmp_path / 'absent'} is no guard folder" in said
    (inbox / "d.jsonl.gz").write_bytes(packed[: len(packed) * 3 // 4])
    code, _, said = cli("screen", guard[0], inbox, *command)
    assert (code, said.count("Traceback")) == (2, 0)
    assert f"error: {inbox / 'd.jsonl.gz'} is damaged or cut short" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ray_gives_the_verdicts_of_the_command(guard, inbox, tmp_path, cli, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # or Ray would leave a token in this user's home
    command = (
        "screen",
        guard[0],
        inbox,
        "--victim",
        guard[1],
        "--engine",
        "ray",
        "--out",
        tmp_path / "out",
        "--quiet",
    )
    code, shown, said = cli(*command, "--json")
    assert code == 0, said
    summary = json.loads(shown)
    assert (summary["n"], summary["not_scored"]) == (92, 2)
    found = arrow.dataset(tmp_path / "out", format="parquet").to_table().to_pylist()
    for file in bulk.files_to_screen(inbox):
        mine = sorted((row for row in found if row["file"] == str(file)), key=lambda row: row["index"])
        for row, wanted in zip(mine, by_the_command(cli, guard, file), strict=True):
            assert {name: row[name] for name in wanted} == pytest.approx(wanted)
