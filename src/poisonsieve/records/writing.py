"""Choosing the output format and opening the output."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Literal, cast, get_args

from poisonsieve.errors import ConfigError
from poisonsieve.records.lines import csv, jsonl
from poisonsieve.records.parquet import parquet
from poisonsieve.records.record import Put
from poisonsieve.records.sarif import sarif
from poisonsieve.storage import writing_file

Format = Literal["jsonl", "csv", "parquet", "sarif"]
FORMATS: tuple[Format, ...] = get_args(Format)
_ENDINGS: dict[str, Format] = {
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"},
    **{".sarif": "sarif", ".sarif.json": "sarif"},
}
_PACKED = re.compile(
    r"\.(gz|gzip|tgz|bz2|tbz|tbz2|xz|txz|lzma|zst|zstd|tzst|lz4|lz|lzo|sz|snappy|br|z|zip|zipx|7z|rar|tar)",
    re.IGNORECASE,
)
#: Endings of formats that records are not written in: another program would try to open the file as one.
_OTHERS = re.compile(
    r"\.(tsv|tab|psv|xls|xlsx|ods|arrow|feather|orc|avro|xml|html|yaml|yml|md|sqlite|db|pkl|pickle|npy|npz)",
    re.IGNORECASE,
)


def format_by_ending(out: Path) -> Format | None:
    """Return the format that a file name implies, or None if it implies none.

    Raises:
        ConfigError: records cannot be written in that format.
    """
    if _OTHERS.fullmatch(out.suffix):
        raise ConfigError(
            f"--out {out}: records are not written as {out.suffix}; choose a name ending in .jsonl, .csv, .parquet or "
            ".sarif, or set the format with --format"
        )
    name = out.name.lower()
    return next((kind for ending, kind in _ENDINGS.items() if name.endswith(ending)), None)


def require_plain(out: Path | None) -> None:
    """Refuse a name that marks the file as compressed or an archive, which other programs would believe.

    Raises:
        ConfigError: the name does.
    """
    if out is not None and _PACKED.fullmatch(out.suffix):
        raise ConfigError(f"--out {out}: records are not compressed; choose a name without {out.suffix} for --out")


def chosen_format(asked: str | None, out: Path | None) -> Format:
    """Return the requested format, else the one that the file name implies, else JSON lines.

    Raises:
        ConfigError: there is no such format, or it cannot be written to `out`.
    """
    require_plain(out)
    if asked is not None and asked not in FORMATS:
        raise ConfigError(f"--format {asked}: it must be {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    kind = asked or (format_by_ending(out) if out else None) or "jsonl"
    if kind == "parquet" and (out is None or (out.exists() and not out.is_file())):
        place = "stdout" if out is None else f"{out}, which is not a regular file"
        raise ConfigError(f"Parquet cannot be written to {place}; name a file with --out")
    return kind


@contextlib.contextmanager
def writing_records(
    kind: Format,
    out: Path | None,
    *,
    source: str,
    with_text: bool,
    stdout: Callable[[str], object],
    with_id: bool = False,
) -> Iterator[Put]:
    """Write records in order. The file appears only if the block ends without an error.

    Args:
        kind: the result of `chosen_format`.
        out: the file; None writes to `stdout`.
        source: path of the input, or ``-``.
        with_text: include the texts in the records.
        stdout: takes the output where there is no file.
        with_id: include the inputs' ids in the records.

    Raises:
        OutputError: the file could not be written.
    """
    with contextlib.ExitStack() as stack:
        stream = None if out is None else stack.enter_context(writing_file(out))
        if kind == "parquet":
            binary = cast("io.TextIOWrapper", stream).buffer
            yield stack.enter_context(parquet(cast("IO[bytes]", binary), with_text=with_text, with_id=with_id))
            return
        write = stdout if stream is None else stream.write
        if kind == "sarif":
            yield stack.enter_context(sarif(write, with_text=with_text, source=source))
        else:
            yield stack.enter_context((csv if kind == "csv" else jsonl)(write, with_text=with_text, with_id=with_id))
