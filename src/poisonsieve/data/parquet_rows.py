"""Reading the rows of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from poisonsieve.data.columns import AS_USUAL, Columns, column_names, columns_to_read
from poisonsieve.errors import DataError


def parquet_rows(
    path: Path, *, need_label: bool, extra: Sequence[str], columns: Columns = AS_USUAL
) -> Iterator[dict[str, object]]:
    """Stream the rows as mappings of the columns to read: see `columns_to_read`.

    Raises:
        DataError: it is not a Parquet file, or its columns cannot be used.
        OSError: the file cannot be read.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            written = list(file.schema_arrow.names)
            names = column_names(written)
            wanted = columns_to_read(names, str(path), need_label=need_label, extra=extra, columns=columns)
            stored = [written[names.index(name)] for name in wanted]
            for batch in file.iter_batches(batch_size=1024, columns=stored):
                read = [_values(batch.column(name)) for name in stored]
                for values in zip(*read, strict=True):
                    yield dict(zip(wanted, values, strict=True))
    except pyarrow.ArrowException as error:
        raise DataError(f"cannot read {path} as Parquet: {str(error).splitlines()[0]}") from error


def _values(column: Any) -> list[Any]:
    """Return Python values; strings and bytes alike become strings if they are UTF-8, else bytes."""
    try:
        values = list(column.to_pylist())
    except UnicodeDecodeError:
        values = [_value(item) for item in column]
    return [_as_text(value) if isinstance(value, bytes) else value for value in values]


def _value(item: Any) -> Any:
    try:
        return item.as_py()
    except UnicodeDecodeError:
        return item.as_buffer().to_pybytes()


def _as_text(value: bytes) -> str | bytes:
    """Decode bytes that are UTF-8, since some writers (Spark's, old Impala's) store text without marking it as text."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value
