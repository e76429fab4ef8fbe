"""Which columns are read: one of each name, or none at all."""

import pyarrow as pa
import pytest
from pyarrow import parquet

from poisonsieve.data import load_dataset
from poisonsieve.data.files import format_of, read_records
from poisonsieve.data.inputs import read_inputs
from poisonsieve.errors import DataError


def write(path, names):
    """One row, whose fields are called `names`."""
    values = [str(number) for number in range(len(names))]
    if path.suffix == ".parquet":
        parquet.write_table(pa.table([[value] for value in values], names=names), path)
    else:
        sign = "," if path.suffix == ".csv" else "\t"
        path.write_text(f"{sign.join(names)}\n{sign.join(values)}\n")
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet"])
@pytest.mark.parametrize("doubled", ["text", "sentence", "label", " text"])
def test_two_columns_of_a_name_that_is_read(tmp_path, name, doubled):
    names = [doubled.strip(), *([] if "text" in doubled else ["text"] if doubled == "label" else []), doubled, "id"]
    path = write(tmp_path / name, names)
    for read in (lambda: list(read_inputs(str(path))), lambda: load_dataset(str(path))):
        with pytest.raises(DataError) as caught:
            read()
        assert str(caught.value) == f"{path}: two columns are called {doubled.strip()}; one would go unread"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet"])
def test_a_doubled_column_that_was_asked_for(tmp_path, name):
    path = write(tmp_path / name, ["text", "original", "original", "original"])
    with pytest.raises(DataError, match="3 columns are called original"):
        list(read_records(path, format_of(path), extra=("original",)))
    assert [record.text for record in read_records(path, format_of(path))] == ["0"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet"])
def test_names_are_read_without_white_space_around_them(tmp_path, name):
    path = write(tmp_path / name, ["id", " text ", "id"])
    assert [row.text for row in read_inputs(str(path))] == ["1"]
