"""Check that the open SQLite file is still the one at its path.

SQLite keeps writing to a file that was deleted, moved or replaced: everything commits, and none of it can be found
again. The same is true of the write-ahead log beside it, which holds the latest records.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, event

from poisonsieve.errors import QuarantineError

_watched: weakref.WeakKeyDictionary[Engine, _File] = weakref.WeakKeyDictionary()


class DisplacedError(QuarantineError):
    """The open file is no longer at its path. The message quotes nothing but the path."""


def watch(engine: Engine, path: Path) -> None:
    """Let the engine hand out connections only while the file is in place, and never create it.

    Args:
        engine: an SQLite engine without connections.
        path: the file, which exists.

    Raises:
        OSError: the file does not exist.
    """
    file = _File(path.absolute())
    _watched[engine] = file
    event.listen(engine, "do_connect", file.connecting)
    event.listen(engine, "connect", file.connected)
    event.listen(engine, "checkout", file.checked_out)
    event.listen(engine, "close", file.closing)


def require_in_place(engine: Engine) -> None:
    """Check that the file is where it was opened; databases other than SQLite are not checked.

    Raises:
        DisplacedError: the file or its write-ahead log was deleted, moved or replaced.
    """
    file = _watched.get(engine)
    if file is not None:
        file.require()


class _File:
    """A database file by device and inode, and its log as the open connections know it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        status = path.stat()
        self._identity = (status.st_dev, status.st_ino)
        self._logs: dict[int, tuple[int, int] | None] = {}  # by connection; closing the last one deletes the log

    def require(self) -> None:
        if _identity(self._path) != self._identity:
            raise _displaced(self._path, "put it back")
        log = _identity(self._log)  # before looking at the connections, since one that closes leaves `_logs` first
        if any(known != log for known in list(self._logs.values())):
            raise _displaced(self._log, "leave it there")

    def connecting(self, _: Any, __: Any, arguments: list[Any], options: dict[str, Any]) -> None:
        """Open the file without creating it, in case it disappears just now."""
        self.require()
        arguments[0] = f"file:{quote(os.fsencode(self._path))}?mode=rw"
        options["uri"] = True

    def connected(self, connection: Any, _: Any) -> None:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # makes sure that the log exists
        self._logs[id(connection)] = _identity(self._log)

    def checked_out(self, *_: Any) -> None:
        self.require()

    def closing(self, connection: Any, _: Any) -> None:
        self._logs.pop(id(connection), None)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _displaced(path: Path, do: str) -> DisplacedError:
    return DisplacedError(
        f"{path} is not where it was opened: it was deleted, moved or replaced; {do}, or restart the service"
    )
