"""Records as lines of text: JSON lines and CSV."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from poisonsieve.records.record import Put, Record, columns, encodable
from poisonsieve.terminal import visible_json


@contextlib.contextmanager
def jsonl(write: Callable[[str], object], *, with_text: bool, with_id: bool = False) -> Iterator[Put]:
    """One JSON object a line."""

    def put(record: Record) -> None:
        write(visible_json(record.to_dict(with_text=with_text, with_id=with_id)) + "\n")

    yield put


@contextlib.contextmanager
def csv(write: Callable[[str], object], *, with_text: bool, with_id: bool = False) -> Iterator[Put]:
    """A header, then one row a record, separated by commas.

    Every string is quoted, with or without a line break in it, so that an empty text (``""``) is another thing than
    null (nothing). Python's own writer cannot tell them apart before 3.12.
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
