"""What stands behind the names in a grid, by content, without reading anything twice.

A file or folder is known by its sha256. Reading gigabytes of weights to learn that nothing changed would take longer than
a second run may; so a file's sha256 is kept beside its size and time of change, and read again when one of them differs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from poisonsieve.data.files import exists
from poisonsieve.storage import read_json_if_there, sha256_file, write_json


class Fingerprints:
    """Digests of what names stand for, remembered in one file.

    Args:
        memory: the JSON file that remembers them; it need not be there yet.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, list[Any]] = read_json_if_there(memory)  # what is lost can be learnt again
        self._changed = False

    def of(self, name: str) -> str:
        """The digest of what is at a path, perhaps with ``#split`` behind it.

        What is no path here stays as it is: the hub's names, packaged names.
        """
        source, hash_sign, split = name.rpartition("#")
        for path, rest in ((name, ""), (source, hash_sign + split)):
            if path and exists(Path(path)):
                return self._content(Path(path)) + rest
        return name

    def save(self) -> None:
        """Write down what was learnt, if anything was.

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
