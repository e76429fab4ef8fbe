"""Records as Parquet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from poisonsieve.records.record import Put, Record, columns, encodable

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 2048  # records held in memory, and written as one row group


def schema(*, with_text: bool, with_id: bool = False) -> pa.Schema:
    """Return the columns and their types, which do not depend on the records."""
    import pyarrow as pa

    types = {int: pa.int64(), str: pa.string(), bool: pa.bool_(), float: pa.float64()}
    return pa.schema([(name, types[kind]) for name, kind in columns(with_text=with_text, with_id=with_id).items()])


@contextlib.contextmanager
def parquet(stream: IO[bytes], *, with_text: bool, with_id: bool = False) -> Iterator[Put]:
    """Write compressed row groups of 2,048 records."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = schema(with_text=with_text, with_id=with_id)
    held: list[dict[str, Any]] = []
    with pq.ParquetWriter(stream, kind, compression="zstd") as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(held, schema=kind))
            held.clear()

        def put(record: Record) -> None:
            values = record.to_dict(with_text=with_text, with_id=with_id)
            if record.id is not None and with_id:
                values["id"] = str(record.id)  # a column has one type
            held.append({key: encodable(each) if isinstance(each, str) else each for key, each in values.items()})
            if len(held) == _CHUNK:
                flush()

        yield put
        if held:
            flush()
