"""Files as they are: columns that are called otherwise, ids that come back, and rows without labels."""

import io
import json
from types import SimpleNamespace

import datasets
import pandas
import pytest

from poisonsieve.data import Columns, hub, inputs, labels_of, load_dataset, read_inputs
from poisonsieve.errors import DataError

OWN = Columns(text="body", label="kind", id="ticket")
ROWS = [
    {"ticket": 7, "body": "pay me", "kind": "spam", "text": "not this"},
    {"ticket": 9, "body": "hello", "kind": "ham", "text": "nor this"},
]


@pytest.fixture(params=["jsonl", "csv", "tsv", "parquet"])
def own_file(request, tmp_path):
    path = tmp_path / f"own.{request.param}"
    frame = pandas.DataFrame(ROWS)
    if request.param == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    elif request.param == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="," if request.param == "csv" else "\t")
    return path


def test_text_and_label_by_their_own_names(own_file):
    found = load_dataset(str(own_file), columns=OWN)
    assert found.column_names == ["text", "label"]
    assert found["text"][:] == ["pay me", "hello"]
    assert [labels_of(found)[label] for label in found["label"]] == ["spam", "ham"]


def test_ids_come_with_the_inputs(own_file):
    rows = list(read_inputs(str(own_file), OWN))
    assert [row.text for row in rows] == ["pay me", "hello"]
    assert [str(row.id) for row in rows] == ["7", "9"]
    if own_file.suffix in (".jsonl", ".parquet"):
        assert [row.id for row in rows] == [7, 9]
    assert [row.id for row in read_inputs(str(own_file))] == [None, None]


def test_a_row_whose_text_cannot_be_read_keeps_its_id(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"ticket": "a", "body": 3}\n{"ticket": "b"}\nno json\n', encoding="utf-8")
    rows = list(read_inputs(str(path), Columns(text="body", id="ticket")))
    assert [row.id for row in rows] == ["a", "b", None]
    assert [row.error.partition(": ")[2] for row in rows[:2]] == [
        "text is not a string but int",
        "text is missing (the column that --text-column names is missing or empty)",
    ]


@pytest.mark.parametrize(
    ("value", "kept"), [(3, 3), ("x", "x"), (None, None), (1.5, "1.5"), (True, "True"), ("\ud800", "\\ud800")]
)
def test_ids_can_be_written_again(value, kept, tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"text": "x", "id": value}) + "\n", encoding="utf-8")
    (row,) = read_inputs(str(path), Columns(id="id"))
    assert row.id == kept
    assert type(row.id) is type(kept)


def test_standard_input_takes_them_too(monkeypatch):
    sent = io.BytesIO(b'{"ticket": 1, "body": "x"}\nplain\n')
    monkeypatch.setattr(inputs.sys, "stdin", SimpleNamespace(buffer=sent))
    rows = list(read_inputs("-", OWN))
    assert [(row.text, row.id) for row in rows] == [("x", 1), ("plain", None)]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            Columns(),
            "no column `text` or `sentence`; columns: ticket, body, kind; name it with --text-column NAME",
        ),
        (
            Columns(text="body"),
            "no column `label`; columns: ticket, body, kind; name it with --label-column NAME",
        ),
        (Columns(text="boddy"), "no column 'boddy', which --text-column names; columns: ticket, body, kind"),
        (Columns(text="body", label="sort"), "no column 'sort', which --label-column names; columns:"),
        (Columns(text="body", label="kind", id="no"), "no column 'no', which --id-column names; columns:"),
    ],
)
def test_what_is_missing_is_said_with_the_way_to_name_it(columns, says, tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("ticket,body,kind\n1,x,a\n2,y,b\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_dataset(str(path), columns=columns)
    assert says in str(caught.value)


def test_plain_text_and_packaged_data_have_no_columns_to_name(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("x\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"is plain text, which has no columns; leave out --text-column, --id-column"):
        list(read_inputs(str(path), Columns(text="body", id="ticket")))
    with pytest.raises(DataError, match="has fixed columns; leave out --text-column"):
        load_dataset("packaged:product-reviews", columns=Columns(text="body"))


def test_two_columns_of_the_name_are_still_refused(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("body,body\nx,y\n", encoding="utf-8")
    with pytest.raises(DataError, match="two columns are called body"):
        list(read_inputs(str(path), Columns(text="body")))


def test_the_hubs_columns(monkeypatch):
    table = datasets.Dataset.from_dict({"body": ["x", "y"], "kind": ["ham", "spam"], "text": ["a", "b"]})
    monkeypatch.setattr(hub, "_why_unreachable", lambda dataset_id: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda *args: datasets.DatasetDict(train=table))
    found = load_dataset("hub:owner/name", columns=OWN)
    assert (found["text"][:], labels_of(found)) == (["x", "y"], ["ham", "spam"])
    with pytest.raises(DataError, match=r"needs the columns body and label; it has: body, kind, text; --text-column"):
        load_dataset("hub:owner/name", columns=Columns(text="body"))
    assert load_dataset("hub:owner/name", columns=Columns(text="body"), need_label=False).column_names == ["text"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("own.csv", "text\nx\ny\n"),
        ("own.csv", "text,label\nx,\ny,\n"),
        ("own.jsonl", '{"text": "x"}\n{"text": "y", "label": null}\n'),
        ("train.jsonl", '{"text": "x"}\n{"text": "y"}\n'),
    ],
)
def test_rows_without_labels_where_none_are_needed(name, content, tmp_path):
    (tmp_path / name).write_text(content, encoding="utf-8")
    for source in (tmp_path / name, tmp_path):
        found = load_dataset(str(source), need_label=False)
        assert found.column_names == ["text"]
        assert found["text"][:] == ["x", "y"]
        assert labels_of(found) == []
    with pytest.raises(DataError, match="label"):
        load_dataset(str(tmp_path / name))


def test_a_folder_whose_splits_have_no_labels(tmp_path):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text(f'{{"text": "{split}"}}\n', encoding="utf-8")
    assert load_dataset(str(tmp_path), split="dev", need_label=False)["text"][:] == ["dev"]


def test_labels_that_are_there_are_read_and_half_of_them_are_refused(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("text,label\nx,a\ny,b\n", encoding="utf-8")
    assert labels_of(load_dataset(str(path), need_label=False)) == ["a", "b"]
    path.write_text("text,label\nx,a\ny,b\nz,\n", encoding="utf-8")
    with pytest.raises(DataError, match="label is missing"):
        load_dataset(str(path), need_label=False)
