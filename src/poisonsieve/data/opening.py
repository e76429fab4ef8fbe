"""Opening files (plain or gzipped) and standard input, with a check of the content before the first line is read."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from poisonsieve.data import contents
from poisonsieve.errors import DataError


@contextlib.contextmanager
def open_lines(path: Path, kind: str) -> Iterator[Iterator[bytes]]:
    """Open a file for reading lines, decompressing it if its name ends in ``.gz``.

    Args:
        path: the file, which may be a pipe.
        kind: the format that its name implies: ``jsonl``, ``csv``, ``tsv`` or ``plain``.

    Raises:
        DataError: the file contains something else or is damaged; damage may show only while lines are read.
        OSError: the file cannot be read.
    """
    with io.BufferedReader(path.open("rb", buffering=0), contents.BLOCK) as stored:
        if path.suffix.lower() != ".gz":
            contents.check(stored.peek(contents.BLOCK), kind, str(path))
            yield iter(stored)
            return
        if stored.peek(2)[:2] != b"\x1f\x8b":
            raise DataError(f"{path} is not gzip, or empty, though its name ends in .gz; rename it or write it again")
        with _telling_damage(path):
            unpacked = io.BufferedReader(gzip.GzipFile(fileobj=stored), contents.BLOCK)
            block = unpacked.peek(contents.BLOCK)
        contents.check(block, kind, str(path))
        yield _unpacked_lines(unpacked, path)


def checked_stdin(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Check how standard input begins, then yield all its lines.

    Raises:
        DataError: standard input does not contain lines of text.
    """
    lines = iter(stream)
    if isinstance(stream, io.BufferedReader):
        contents.check(stream.peek(contents.BLOCK), "stdin", "stdin")
        yield from lines
        return
    for number, line in enumerate(lines):
        if number == 0:
            contents.check(line, "stdin", "stdin")
        yield line


def _unpacked_lines(stream: Iterable[bytes], path: Path) -> Iterator[bytes]:
    lines = iter(stream)
    while True:
        with _telling_damage(path):
            line = next(lines, None)
        if line is None:
            return
        yield line


@contextlib.contextmanager
def _telling_damage(path: Path) -> Iterator[Any]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut short ({error}); copy or write it again") from error
