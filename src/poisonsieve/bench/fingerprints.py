"""Digests of the files and folders that names in a grid refer to, without hashing a file twice.

Hashing gigabytes of weights to see that nothing changed could take longer than the rest of a repeated run. So a file's
sha256 is stored with its size and modification time, and computed again only when one of them differs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from poisonsieve.data.files import exists
from poisonsieve.storage import read_json_if_there, sha256_file, write_json


class Fingerprints:
    """Digests of what names refer to, remembered in one file.

    Args:
        memory: the JSON file that remembers them; it need not exist yet.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, list[Any]] = read_json_if_there(memory)  # lost digests are computed again
        self._changed = False

    def of(self, name: str) -> str:
        """Return the digest of the content at a path, which may end in ``#split``.

        A name that is not a path (a hub id, a packaged name) is returned unchanged.
        """
        source, hash_sign, split = name.rpartition("#")
        for path, rest in ((name, ""), (source, hash_sign + split)):
            if path and exists(Path(path)):
                return self._content(Path(path)) + rest
        return name

    def save(self) -> None:
        """Write new digests to the file, if there are any.

        Raises:
            OutputError: the file cannot be written.
        """
        if self._changed:
            write_json(self._memory, self._known)
            self._changed = False

    def _content(self, path: Path) -> str:
        if path.is_file():
            return f"sha256:{self._file(path)}"
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = "".join(f"{file.relative_to(path).as_posix()} {self._file(file)}\n" for file in files)
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

    def _file(self, path: Path) -> str:
        key, stat = str(path.resolve()), path.stat()
        found = self._known.get(key)
        if found is not None and found[:2] == [stat.st_size, stat.st_mtime_ns]:
            return str(found[2])
        digest = sha256_file(path)
        self._known[key] = [stat.st_size, stat.st_mtime_ns, digest]
        self._changed = True
        return digest
