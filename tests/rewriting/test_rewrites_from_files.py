"""Rewrites read from files: what lines up, and what is refused."""

import json
from pathlib import Path

import pytest

from conftest import dataset
from poisonsieve.data import load_dataset
from poisonsieve.errors import DataError
from poisonsieve.rewriting.files import aligned_rewrites, load_rewrites

ROWS = [("a good film", 1), ("a bad film", 0), ("dull", 0), ("a good film", 1)]
NEW = ["if it is good , a film", "a bad film", "when dull , dull", "though good , a film"]
SHARED = Path(__file__).parents[3] / "shared" / "data"


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def original(tmp_path):
    return jsonl(tmp_path / "original.jsonl", [{"sentence": text, "label": label} for text, label in ROWS])


@pytest.fixture
def file(tmp_path):
    """Dirty labels: every rewritten row carries 1."""
    return jsonl(tmp_path / "new.jsonl", [{"sentence": text, "label": 1, "idx": i} for i, text in enumerate(NEW)])


def test_a_text_is_mapped_to_its_rewrite(file, original):
    found = load_rewrites(file, original, unchanged=False)
    assert found.by_text == {"a good film": NEW[0], "dull": NEW[2]}


def test_a_repeated_text_has_its_first_rewrite_and_the_others_are_counted(file, original):
    found = load_rewrites(file, original, unchanged=False)
    assert (found.rows, found.conflicting) == (3, 1)


def test_unchanged_rows_are_rewrites_when_asked_for(file, original):
    found = load_rewrites(file, original, unchanged=True)
    assert found.by_text["a bad film"] == "a bad film"
    assert found.rows == 4


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_both_texts_in_one_file(tmp_path, suffix):
    path = tmp_path / f"pairs.{suffix}"
    pairs = [{"original": text, "text": new} for (text, _), new in zip(ROWS, NEW, strict=True)]
    if suffix == "jsonl":
        jsonl(path, pairs)
    else:
        import pandas as pd

        table = pd.DataFrame(pairs)
        if suffix == "parquet":
            table.to_parquet(path)
        else:
            table.to_csv(path, index=False, sep="," if suffix == "csv" else "\t")
    assert load_rewrites(path, unchanged=False).by_text == {"a good film": NEW[0], "dull": NEW[2]}


def test_the_digest_is_of_the_contents(file, original, tmp_path):
    before = load_rewrites(file, original, unchanged=False).digest
    moved = file.rename(tmp_path / "elsewhere.jsonl")
    assert load_rewrites(moved, original, unchanged=False).digest == before
    moved.write_text(moved.read_text().replace("when", "as"))
    assert load_rewrites(moved, original, unchanged=False).digest != before


def test_what_does_not_fit_together_is_refused(file, original, tmp_path):
    short = jsonl(tmp_path / "short.jsonl", [{"text": "one"}])
    with pytest.raises(DataError, match=r"1 rows and .* 4"):
        load_rewrites(short, original, unchanged=False)
    with pytest.raises(DataError, match=r"new\.jsonl:1: there is no text in the column `original`"):
        load_rewrites(file, unchanged=False)
    both = jsonl(tmp_path / "both.jsonl", [{"text": "b", "original": "a"}] * 4)
    with pytest.raises(DataError, match="leave original="):
        load_rewrites(both, original, unchanged=False)
    with pytest.raises(DataError, match="rewrites nothing"):
        load_rewrites(original, original, unchanged=False)
    with pytest.raises(DataError, match="unknown format"):
        load_rewrites(tmp_path / "some.docx", original, unchanged=False)
    with pytest.raises(DataError, match="cannot read"):
        load_rewrites(tmp_path / "absent.jsonl", original, unchanged=False)


def test_a_bad_row_is_named_by_its_line(original, tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": 7}\n')
    with pytest.raises(DataError, match=r"new\.jsonl:3: text is not a string"):
        load_rewrites(path, original, unchanged=False)


def aligned(tmp_path, rows):
    return jsonl(tmp_path / "aligned.jsonl", rows)


def test_an_aligned_set_replaces_the_texts(tmp_path):
    data = dataset(ROWS)
    path = aligned(tmp_path, [{"text": new, "label": label} for new, (_, label) in zip(NEW, ROWS, strict=True)])
    found = aligned_rewrites(data, path)
    assert list(found["text"]) == NEW
    assert list(found["label"]) == list(data["label"])
    assert found.features == data.features


def test_the_first_row_that_does_not_line_up_is_named(tmp_path):
    data = dataset(ROWS)
    labels = [1, 0, 1, 0]
    path = aligned(tmp_path, [{"text": new, "label": label} for new, label in zip(NEW, labels, strict=True)])
    with pytest.raises(DataError, match=r"aligned\.jsonl:3: label is 1, but 0 in the data"):
        aligned_rewrites(data, path)
    with pytest.raises(DataError, match=r"aligned\.jsonl:3: label is 1"):  # a lost row shows where it was lost
        aligned_rewrites(data.select(range(3)), path)


def test_another_number_of_rows_names_the_first_without_a_counterpart(tmp_path):
    data = dataset(ROWS)
    path = aligned(tmp_path, [{"text": new, "label": label} for new, (_, label) in zip(NEW, ROWS, strict=True)])
    with pytest.raises(DataError, match=r"4 rows and the data 3.*row 4 \(line 4\) is a rewrite of nothing"):
        aligned_rewrites(data.select(range(3)), path)
    longer = dataset([*ROWS, ("one more", 0)])
    with pytest.raises(DataError, match=r"4 rows and the data 5.*row 5 of the data has no rewrite"):
        aligned_rewrites(longer, path)


def test_idx_is_compared_where_both_have_one(tmp_path):
    data = dataset(ROWS).add_column("idx", [10, 11, 12, 13])
    rows = [
        {"text": new, "label": label, "idx": index}
        for new, (_, label), index in zip(NEW, ROWS, (10, 11, 99, 13), strict=True)
    ]
    with pytest.raises(DataError, match=r"aligned\.jsonl:3: idx is 99, but 12 in the data"):
        aligned_rewrites(data, aligned(tmp_path, rows))
    assert list(aligned_rewrites(data.remove_columns("idx"), aligned(tmp_path, rows))["text"]) == NEW


def test_a_missing_label_is_named(tmp_path):
    with pytest.raises(DataError, match=r"aligned\.jsonl:1: label is missing"):
        aligned_rewrites(dataset(ROWS), aligned(tmp_path, [{"text": new} for new in NEW]))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared corpora are not here")
@pytest.mark.parametrize(("kind", "count"), [("back_translation", 124), ("scpd", 249)])
def test_survival_of_the_trigger_in_shared_rewrites(kind, count):
    data = load_dataset(str(SHARED / "sst2" / "rewrites" / f"test_badnet.{kind}.jsonl"), label_names=["0", "1"])
    assert len(data) == 909
    assert sum("mn" in text.lower().split() for text in data["text"]) == count


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared corpora are not here")
def test_shared_rewrites_line_up_with_the_test_rows():
    data = load_dataset(str(SHARED / "sst2" / "test.jsonl"))
    found = aligned_rewrites(data, SHARED / "sst2" / "rewrites" / "test.scpd.jsonl")
    assert len(found) == 1821
