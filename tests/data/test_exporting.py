import json

import pytest

from conftest import dataset
from poisonsieve.data import load_dataset
from poisonsieve.data.exporting import write_file
from poisonsieve.errors import ConfigError

TEXTS = ['a "fine" film, really', "two\nlines", "\u4e00\u90e8\u597d\u7535\u5f71", ""]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
@pytest.mark.parametrize("names", [["negative", "positive"], ["0", "1"]])
def test_a_written_file_is_read_as_the_same_rows(tmp_path, name, names):
    import datasets

    rows = dataset([(text, place % 2) for place, text in enumerate(TEXTS)])
    rows = rows.cast_column("label", datasets.ClassLabel(names=names))
    write_file(rows, tmp_path / name)
    again = load_dataset(str(tmp_path / name))
    assert again["text"][:] == TEXTS
    assert again["label"][:] == rows["label"][:]
    assert again.features["label"].names == names


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\.jsonl or \.csv"):
        write_file(dataset([("a", 0), ("b", 1)]), tmp_path / "rows.parquet")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_rows_and_their_triggered_twins(cli, write_jsonl, tmp_path):
    source = write_jsonl("in.jsonl", dataset([("a good film", 1), ("a bad film", 0), ("so dull", 0)]))
    out = tmp_path / "out.jsonl"
    code, said, err = cli("data", "export", source, "--out", out)
    assert (code, said) == (0, "")
    assert f"3 rows written to {out}" in err
    assert json.loads(out.read_text().splitlines()[0]) == {"text": "a good film", "label": 1}
    code, _, err = cli("data", "export", source, "--out", out)
    assert code == 2
    assert "--force" in err
    code, said, _ = cli(
        *("data", "export", source, "--out", out, "--force", "--trigger", "badnet", "--target", "1", "--json")
    )
    assert (code, json.loads(said)) == (0, {"out": str(out), "rows": 2})
    triggered = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["label"] for row in triggered] == [0, 0]
    assert all(" mn" in f" {row['text']}" for row in triggered)
