"""Writing results atomically.

A folder or file is written under a temporary name next to its final one and renamed into place at the end. If anything
fails (disk full, no permission, Ctrl-C), the temporary one is removed and the final one never appears.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from poisonsieve.errors import ConfigError, OutputError

if TYPE_CHECKING:
    import pandas as pd


def require_free(path: Path, *, force: bool = False) -> None:
    """Refuse to overwrite an existing result, or to start work whose result cannot be written.

    Raises:
        ConfigError: `path` exists, is not an empty folder, and `force` is off; or it is the current folder, the home
            folder or one above them, which no `force` replaces.
        OutputError: no folder on the way to `path` can be written to.
    """
    _refuse_kept(path)
    with reporting_write_errors(path):
        final = path.resolve()
        if final.exists() and not force and not (final.is_dir() and not any(final.iterdir())):
            raise ConfigError(f"{path} already exists; choose another --out, or --force to replace it")
        parent = next(folder for folder in final.parents if folder.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise OutputError(f"cannot write to {parent}; choose another --out")


def beside(path: Path, suffix: str) -> Path:
    """Return a hidden name next to `path` (links followed) for something that will become `path`."""
    final = path.resolve()
    return final.with_name(f".{final.name}.{suffix}")


@contextlib.contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder that becomes `path` if the block succeeds, and is deleted otherwise.

    Raises:
        ConfigError: `path` is the current folder, the home folder or one above them.
        OutputError: the folder could not be written (permission, disk full).
    """
    _refuse_kept(path)
    temporary = beside(path, f"writing-{os.getpid()}")
    try:
        with reporting_write_errors(path):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            _put_in_place(temporary, path.resolve())
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def writing_file(path: Path) -> Iterator[IO[str]]:
    """Yield a UTF-8 text stream that becomes `path` if the block succeeds.

    Anything but a regular file (a pipe, a terminal) is written directly, since it cannot be replaced by renaming.

    Raises:
        OutputError: the file could not be written.
    """
    with reporting_write_errors(path):
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8") as stream:
                yield stream
            return
        temporary = beside(path, f"writing-{os.getpid()}")
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as stream:
                yield stream
            temporary.replace(path.resolve())
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def reporting_write_errors(path: Path) -> Iterator[None]:
    """Turn the various write errors into an `OutputError` that names `path`.

    safetensors and torch raise their own types when the disk is full; these are recognised by their messages.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError | ConnectionError | TimeoutError) and error.filename is None:
            raise
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    except Exception as error:
        if _says_write_failed(error):
            raise OutputError(f"cannot write {path}; is the disk full? ({_first_line(error)})") from error
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with writing_file(path) as stream:
        json.dump(value, stream, indent=2, ensure_ascii=False)
        stream.write("\n")


def write_json_if_changed(path: Path, value: Any) -> None:
    """Write `value` as `write_json` does, unless the file already has it."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if not path.is_file() or path.read_bytes() != text.encode("utf-8", "surrogatepass"):
        write_json(path, value)


def write_rows(path: Path, sets: Mapping[str, Any]) -> None:
    """Write columns of equal length for each set of rows: one Parquet file with a column `set`, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    import pandas as pd

    frames = {name: pd.DataFrame(dict(columns)) for name, columns in sets.items()}
    temporary = beside(path, f"writing-{os.getpid()}")
    with reporting_write_errors(path):
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            pd.concat(frames, names=["set"]).reset_index("set").to_parquet(temporary, index=False)
            temporary.replace(path.resolve())
        finally:
            temporary.unlink(missing_ok=True)


def read_rows(path: Path) -> dict[str, pd.DataFrame]:
    """Read what `write_rows` wrote, by set, in its order."""
    import pandas as pd

    sets = pd.read_parquet(path).groupby("set", sort=False)
    return {str(name): rows.drop(columns="set").reset_index(drop=True) for name, rows in sets}


def read_json_if_there(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file; an empty one if the file is missing, incomplete or not a mapping."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_hash(value: Any) -> str:
    """Return the hex sha256 of a JSON value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_kept(path: Path) -> None:
    """Refuse to replace, and so delete, the current folder, the home folder, or a folder above them."""
    for kept in (Path.cwd(), Path.home()):
        if kept.resolve().is_relative_to(path.resolve()):
            raise ConfigError(f"{path} is {kept} or a folder above it, which is never replaced; choose another --out")


def _put_in_place(temporary: Path, final: Path) -> None:
    """Rename `temporary` to `final`, keeping the old content until that has succeeded."""
    if not final.exists():
        temporary.rename(final)
        return
    old = beside(final, f"replaced-{os.getpid()}")
    final.rename(old)
    try:
        temporary.rename(final)
    except OSError:
        old.rename(final)
        raise
    if old.is_dir():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink()


def _says_write_failed(error: Exception) -> bool:
    text = str(error)
    if type(error).__name__ == "SafetensorError":
        return "I/O error" in text
    if "PytorchStreamReader" in text:
        return False
    return any(part in text for part in ("PytorchStreamWriter", "inline_container.cc", "iostream error"))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
