"""Whether the SQLite file that is written to is still the one that its path names.

SQLite goes on writing to a file that was deleted, moved or replaced: everything commits, and nothing of it can be found
again. The same is true of the write-ahead log beside it, in which the latest records are.
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
    """The file that was opened is not where it was opened. The message quotes nothing but its path."""


def watch(engine: Engine, path: Path) -> None:
    """Let the engine hand out connections only while the file is in place, and make none.

    Args:
        engine: of SQLite, without connections yet.
        path: the file; it is there.

    Raises:
        OSError: it is not.
    """
    file = _File(path.absolute())
    _watched[engine] = file
    event.listen(engine, "do_connect", file.connecting)
    event.listen(engine, "connect", file.connected)
    event.listen(engine, "checkout", file.checked_out)
    event.listen(engine, "close", file.closing)


def require_in_place(engine: Engine) -> None:
    """Look whether the file is where it was opened; of another database than SQLite nothing is looked at.

    Raises:
        DisplacedError: it was deleted, moved or replaced, or its write-ahead log was.
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
        self._logs: dict[int, tuple[int, int] | None] = {}  # of each connection; the last that is closed deletes it

    def require(self) -> None:
        if _identity(self._path) != self._identity:
            raise _displaced(self._path, "put it back")
        log = _identity(self._log)  # before the connections are looked at: one that closes leaves them first
        if any(known != log for known in list(self._logs.values())):
            raise _displaced(self._log, "leave it there")

    def connecting(self, _: Any, __: Any, arguments: list[Any], options: dict[str, Any]) -> None:
        """Open the file and make none, should it go just now."""
        self.require()
        arguments[0] = f"file:{quote(os.fsencode(self._path))}?mode=rw"
        options["uri"] = True

    def connected(self, connection: Any, _: Any) -> None:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # by now the log is there
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
        f"{path} is not where it was opened: it was deleted, moved or replaced; {do}, or start the service anew"
    )
