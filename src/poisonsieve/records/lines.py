"""Records as lines of text: JSON lines and CSV."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from poisonsieve.records.record import Put, Record, columns, encodable
from poisonsieve.terminal import visible_json


@contextlib.contextmanager
def jsonl(write: Callable[[str], object], *, with_text: bool, with_id: bool = False) -> Iterator[Put]:
    """Write one JSON object per line."""

    def put(record: Record) -> None:
        write(visible_json(record.to_dict(with_text=with_text, with_id=with_id)) + "\n")

    yield put


@contextlib.contextmanager
def csv(write: Callable[[str], object], *, with_text: bool, with_id: bool = False) -> Iterator[Put]:
    """Write a header, then one comma-separated row per record.

    Every string is quoted, so that an empty text (``""``) differs from null (nothing). Python's own writer cannot make
    that distinction before 3.12.
    """
    names = list(columns(with_text=with_text, with_id=with_id))
    write(",".join(names) + "\n")

    def put(record: Record) -> None:
        values = record.to_dict(with_text=with_text, with_id=with_id)
        write(",".join(_field(values[name]) for name in names) + "\n")

    yield put


def _field(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + encodable(value).replace('"', '""') + '"'
    return repr(value)
