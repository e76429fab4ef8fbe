"""What stands behind the names in a grid, by content, without reading anything twice.

A file or folder is known by its sha256. Reading gigabytes of weights to learn that nothing changed would take longer than
a second run may; so a file's sha256 is kept beside its size and time of change, and read again when one of them differs.
"""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poisonsieve.config import ByContent, PlugInText, Spec, name_of
from poisonsieve.data.files import exists
from poisonsieve.storage import sha256_file, write_json


class Fingerprints:
    """Digests of what names stand for, remembered in one file.

    Args:
        memory: the JSON file that remembers them; it need not be there yet.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, list[Any]] = _read(memory)
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


def _read(memory: Path) -> dict[str, list[Any]]:
    """What was remembered; nothing where the file is not there or not whole, since it can all be learnt again."""
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def content_of(spec: Spec, prints: Fingerprints, read: Mapping[str, Mapping[str, str | None]]) -> dict[str, Any]:
    """A spec with the digest of what is there in place of every name that is marked `ByContent`; JSON-ready.

    Args:
        spec: any.
        prints: knows the content behind names.
        read: the arguments of plug-ins that are marked so, with their defaults; see `poisonsieve.bench.checks.Checked`.
    """

    def known(value: Any, marks: list[Any]) -> Any:
        if isinstance(value, Spec):
            fields = type(value).model_fields
            return {key: known(getattr(value, key), _marks(field)) for key, field in fields.items()}
        if isinstance(value, dict):
            return {key: known(entry, marks) for key, entry in value.items()}
        if not isinstance(value, str):
            return value
        plug_ins = [mark.kind for mark in marks if isinstance(mark, PlugInText)]
        if plug_ins:
            return _text(value, prints, read[f"{plug_ins[0]} {name_of(value)}"])
        return prints.of(value) if ByContent in marks else value

    found: dict[str, Any] = known(spec, [])
    return found


def _text(text: str, prints: Fingerprints, read: Mapping[str, str | None]) -> dict[str, Any]:
    """A plug-in in its text form: its name, the arguments that are given, and the content of those that are not."""
    name, _, rest = text.partition(":")
    given = {key.strip(): value for key, _, value in (part.partition("=") for part in rest.split(",") if part)}
    values = {**{key: default for key, default in read.items() if default is not None}, **given}
    arguments = {key: prints.of(value) if key in read else value for key, value in values.items()}
    return {"plug_in": name, "arguments": arguments}


def _marks(field: Any) -> list[Any]:
    """What a field's annotation is marked with, wherever in it."""

    def within(declared: Any) -> list[Any]:
        return [mark for part in typing.get_args(declared) for mark in (part, *within(part))]

    return [*field.metadata, *within(field.annotation)]
