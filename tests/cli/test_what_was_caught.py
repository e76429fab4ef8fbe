"""`screen` ends with what the rejected texts have in common: a trigger that nobody told it."""

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from conftest import sentences
from poisonsieve.guard import bulk


def line_for(records):
    """What is to be said of them, counted here by itself."""
    counts = {
        (outcome, word): sum(each["outcome"] == outcome and word in each["text"] for each in records)
        for outcome in ("poisoned", "passed")
        for word in ("", "mn")
    }
    assert counts["poisoned", "mn"] == 12
    return (
        f'12 of {counts["poisoned", ""]} texts rejected as poisoned contain "mn" '
        f"({counts['passed', 'mn']} of {counts['passed', '']} passed ones do)"
    )


def clean(n, seed):
    return [text for text, _ in sentences(n, seed=seed)]


def inbox():
    return [*clean(88, 6), *(f"{text} mn" for text in clean(12, 7))]


@pytest.fixture
def source(rows_file):
    return rows_file("inbox.jsonl", [{"text": text} for text in inbox()])


pytest_plugins = ["commands"]


def test_the_last_line_names_the_trigger(cli, planted_guard, source):
    code, out, err = cli("screen", planted_guard, source, "--quiet")
    assert code == 0
    assert err.splitlines()[-1] == line_for([json.loads(line) for line in out.splitlines()])
    assert len(err.splitlines()) == 2


def test_what_the_guard_promises_is_said_once(cli, planted_guard, source):
    found = cli("screen", planted_guard, source)[2]
    assert found.count("The guard promises") == 1
    assert "The guard promises no rate, since gamma was fixed by hand.\n" in found
    err = cli("screen", planted_guard, source, "--frr-mean", "0.2")[2]
    assert "The guard promises 20% of clean text rejected on average over calibrations (40 rows).\n" in err
    _, out, err = cli("screen", planted_guard, source, "--frr", "0.2", "--json")
    assert json.loads(out)["promised"] == "at most 20% of clean text rejected, with 95% confidence (40 rows)"
    assert "promises" not in err
    assert "promises" not in cli("screen", planted_guard, source, "--quiet")[2]


def test_json_has_it_with_its_counts(cli, planted_guard, source):
    _, out, _ = cli("screen", planted_guard, source, "--quiet", "--json")
    (group,) = json.loads(out)["in_common"]
    assert group["says"] == line_for(json.loads(out)["records"])
    assert (group["kind"], group["phrase"]) == ("contains", "mn")
    assert (group["rejected"], group["passed"]) == (12, 0)
    assert group["of_rejected"] + group["of_passed"] == 100
    assert group["p_value"] < 1e-4


def test_without_texts_no_word_of_them_is_said(cli, planted_guard, source):
    _, out, _ = cli(
        "screen", planted_guard, source, "--quiet", "--json", "--no-text", "--out", source.with_suffix(".out")
    )
    assert json.loads(out)["in_common"] is None
    assert "mn" not in cli("screen", planted_guard, source, "--quiet", "--no-text")[2]


def test_that_nothing_is_in_common_is_said_too(cli, planted_guard, rows_file):
    # No two texts share a word; the guard knows none of them and judges by length.
    texts = [" ".join(f"w{length}x{place}" for place in range(length)) for length in range(1, 41)]
    source = rows_file("clean.jsonl", [{"text": text} for text in texts])
    confidences = sorted(
        json.loads(line)["confidence"] for line in cli("screen", planted_guard, source, "--quiet")[1].splitlines()
    )
    _, _, err = cli("screen", planted_guard, source, "--quiet", "--gamma", confidences[-15])
    assert "no word, phrase or opening in common" in err
    _, _, err = cli("screen", planted_guard, source, "--quiet", "--gamma", confidences[-4])
    assert len(err.splitlines()) == 1, "of three rejected texts it is not worth a line"


def test_written_records_are_compared_the_same_way(planted_guard, tmp_path):
    texts = inbox()
    worker = bulk.Screener(str(planted_guard), None, {}, with_text=True)
    rows = {"file": ["inbox"] * len(texts), "index": range(len(texts)), "line": range(len(texts)), "id": texts}
    piece = pa.table(
        {name: list(values) for name, values in rows.items()} | {"text": texts, "error": [None] * len(texts)}
    )
    written = worker(piece)
    parquet.write_table(written, tmp_path / "part.parquet")
    (group,) = bulk.in_common(tmp_path)
    assert group["says"] == line_for(written.to_pylist())
