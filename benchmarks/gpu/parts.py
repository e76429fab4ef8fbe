"""A kit in parts: files, cut where a part is full; each piece and each file is known by its sha256.

A part is a folder of its own: what starts it, the manifest of the whole kit, and its pieces. Parts may arrive in any
order and one at a time. A file is there as soon as all of its pieces are. This module runs before anything is installed,
so it needs nothing but Python.

    part-01/start.py, parts.py, manifest.json, pieces/00000-0 ...
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FORMAT_VERSION = 1
MEBIBYTE = 2**20
#: Bytes of a whole part, at most: a call to a machine may carry 64 MiB, and the work tree travels with it.
LARGEST_PART = 55 * MEBIBYTE
#: Of them, those kept for the manifest and what starts a part.
_BESIDE = 1 * MEBIBYTE
_BLOCK = 1 * MEBIBYTE
#: What every part brings beside its pieces: enough to check it and to go on.
STARTERS = ("start.py", "parts.py")
MANIFEST = "manifest.json"


class KitError(Exception):
    """What the user has to mend, in one line."""


def write_parts(
    files: Iterable[tuple[str, Path]], facts: dict[str, Any], out: Path, largest: int = LARGEST_PART
) -> dict[str, Any]:
    """Cut files into parts `out/part-01`, `out/part-02`, ...

    Args:
        files: where each is to lie on the target (a relative POSIX path), and where it lies here; the most needed first.
        facts: what the manifest says beside the files.
        out: a folder that is absent or empty.
        largest: bytes of a part.

    Returns:
        The manifest.

    Raises:
        KitError: `out` has something in it, or there is no room for pieces in such small parts.
    """
    room = largest - _BESIDE
    if room <= 0:
        raise KitError(f"a part of {largest} bytes has no room for anything; give more than {_BESIDE}")
    if out.exists() and any(out.iterdir()):
        raise KitError(f"{out} is not empty; choose another --out")
    writer = _Writer(out, room)
    entries = [writer.add(number, path, source) for number, (path, source) in enumerate(files)]
    manifest = {
        "format_version": FORMAT_VERSION,
        **facts,
        "parts": writer.part,
        "files": entries,
    }
    manifest["kit"] = digest_of(json.dumps(manifest, sort_keys=True).encode())[:16]
    text = json.dumps(manifest, indent=1)
    if len(text) > _BESIDE - 2**17:
        raise KitError(f"the manifest has {len(text)} bytes, for too many files; carry less")
    for number in range(1, writer.part + 1):
        folder = _part(out, number)
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        for name in STARTERS:
            shutil.copy(Path(__file__).with_name(name), folder / name)
    return manifest


class _Writer:
    """Fills one part after the other."""

    def __init__(self, out: Path, room: int) -> None:
        self.out, self.room = out, room
        self.part, self.left = 0, 0

    def add(self, number: int, path: str, source: Path) -> dict[str, Any]:
        """Put a file into the part at hand, and what finds no room there into the next ones; its entry."""
        pieces: list[dict[str, Any]] = []
        whole, size = hashlib.sha256(), 0
        with source.open("rb") as stream:
            while True:
                if self.left <= 0:
                    self._next_part()
                name = f"{number:05d}-{len(pieces)}"
                content = stream.read(self.left)
                if not content and pieces:
                    break
                (_part(self.out, self.part) / "pieces" / name).write_bytes(content)
                pieces.append({"part": self.part, "name": name, "sha256": digest_of(content)})
                whole.update(content)
                size += len(content)
                self.left -= len(content)
                if not content:
                    break
        return {"path": path, "size": size, "sha256": whole.hexdigest(), "pieces": pieces}

    def _next_part(self) -> None:
        self.part += 1
        self.left = self.room
        (_part(self.out, self.part) / "pieces").mkdir(parents=True)


def take(part: Path, work: Path) -> None:
    """Check a part and take its pieces over; files that are whole by now appear under `work/files`.

    Raises:
        KitError: the part was altered, is incomplete, or belongs to another kit than what is in `work`.
    """
    manifest = read_manifest(part)
    known = work / MANIFEST
    if known.is_file() and read_manifest(work)["kit"] != manifest["kit"]:
        raise KitError(f"{part} is of kit {manifest['kit']}, {work} holds another one; choose another --work")
    work.mkdir(parents=True, exist_ok=True)
    if not known.is_file():
        _write(known, (part / MANIFEST).read_bytes())
    number = _number_of(part, manifest)
    for entry in manifest["files"]:
        mine = [piece for piece in entry["pieces"] if piece["part"] == number]
        if mine and not (work / "files" / entry["path"]).is_file():
            for piece in mine:
                _take_piece(part, piece, work)
            _join(entry, work)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest in a part, or in a work folder.

    Raises:
        KitError: there is none, or it was altered, or is of another version.
    """
    file = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        said = manifest.pop("kit")
        written = manifest["format_version"]
    except (OSError, ValueError, KeyError) as error:
        raise KitError(f"{file} is no manifest of a kit ({type(error).__name__}); copy the part again") from None
    if written != FORMAT_VERSION:
        raise KitError(f"{file} has format version {written}, this reads {FORMAT_VERSION}; pack again")
    if digest_of(json.dumps(manifest, sort_keys=True).encode())[:16] != said:
        raise KitError(f"{file} was altered since it was packed; copy the part again")
    return {**manifest, "kit": said}


def missing(manifest: dict[str, Any], work: Path, below: str = "") -> list[int]:
    """The parts that have to come before all files whose path begins with `below` are there."""
    absent = [
        entry
        for entry in manifest["files"]
        if entry["path"].startswith(below) and not (work / "files" / entry["path"]).is_file()
    ]
    pieces = [piece for entry in absent for piece in entry["pieces"]]
    return sorted({piece["part"] for piece in pieces if not (work / "pieces" / piece["name"]).is_file()})


def require_fit(manifest: dict[str, Any]) -> None:
    """Refuse to run on another machine than the kit was packed for.

    Raises:
        KitError: Python or torch is of another version, or torch is missing.
    """
    target = manifest["target"]
    if list(sys.version_info[:2]) != target["python"][:2]:
        wanted, here = ".".join(map(str, target["python"][:2])), ".".join(map(str, sys.version_info[:2]))
        raise KitError(
            f"the kit is packed for Python {wanted}, and this is {here}; run probe.py here, and pack for it"
        )
    try:
        there = version("torch")
    except PackageNotFoundError:
        raise KitError("this Python has no torch; start the kit with the Python that has it") from None
    if there != target["torch"]:
        raise KitError(
            f"the kit is packed for torch {target['torch']}, and here is {there}; run probe.py here, and pack for it"
        )


def digest_of(content: bytes) -> str:
    """Hex sha256."""
    return hashlib.sha256(content).hexdigest()


def digest_of_file(file: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    found = hashlib.sha256()
    with file.open("rb") as stream:
        for block in _blocks(stream):
            found.update(block)
    return found.hexdigest()


def _part(out: Path, number: int) -> Path:
    return out / f"part-{number:02d}"


def _number_of(part: Path, manifest: dict[str, Any]) -> int:
    """Which part a folder is, told by what is in it: folders are renamed."""
    there = {file.name for file in (part / "pieces").glob("*")}
    for number in range(1, manifest["parts"] + 1):
        wanted = {p["name"] for entry in manifest["files"] for p in entry["pieces"] if p["part"] == number}
        if wanted and wanted <= there:
            return number
    raise KitError(f"{part} lacks pieces of every part there is; copy the part again")


def _take_piece(part: Path, piece: dict[str, Any], work: Path) -> None:
    content = (part / "pieces" / piece["name"]).read_bytes()
    if digest_of(content) != piece["sha256"]:
        raise KitError(
            f"{part / 'pieces' / piece['name']} was altered since it was packed; nothing of it is used: copy the part again"
        )
    _write(work / "pieces" / piece["name"], content)


def _join(entry: dict[str, Any], work: Path) -> None:
    """Put a file together once all its pieces are there."""
    pieces = [work / "pieces" / piece["name"] for piece in entry["pieces"]]
    if not all(piece.is_file() for piece in pieces):
        return
    root = (work / "files").resolve()
    target = (root / entry["path"]).resolve()
    if not target.is_relative_to(root):
        raise KitError(f"the manifest names {entry['path']}, which is outside of the kit; pack again")
    temporary = target.with_name(f"{target.name}.writing")
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary.open("wb") as stream:
        for piece in pieces:
            stream.write(piece.read_bytes())
    if digest_of_file(temporary) != entry["sha256"]:
        temporary.unlink()
        raise KitError(f"{entry['path']} does not come out as it was packed; copy its parts again")
    temporary.replace(target)
    for piece in pieces:
        piece.unlink()


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all: a call may be cut off at any time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.writing-{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(file)


def _blocks(stream: Any) -> Iterator[bytes]:
    while block := stream.read(_BLOCK):
        yield block
