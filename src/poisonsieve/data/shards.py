"""Shards: files that are parts of one, such as ``train-00000-of-00003.jsonl``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path

from poisonsieve.errors import DataError

# `NAME-00000-of-00003`, sometimes followed by sixteen digits of a digest (on the hub).
_SHARD = re.compile(
    r"(?P<name>.*?)(?P<sign>[-_. ]?)(?P<number>\d+)(?P<of>[-_. ]?of[-_. ]?)(?P<total>\d+)(-[0-9a-f]{16})?", re.I
)
#: Extensions of compressed files.
PACKED = frozenset(
    (".gz", ".bz2", ".xz", ".lzma", ".zst", ".zip", ".lz4", ".7z", ".br", ".z", ".rar", ".tgz", ".tar")
)
_SHOWN = 5


def without_shard(stem: str) -> str:
    """Strip a shard's number and total from a stem."""
    found = _shard(stem)
    return found["name"] if found else stem


def is_shard(stem: str) -> bool:
    """Tell whether a stem has a shard's number and total."""
    return _shard(stem) is not None


def _shard(stem: str) -> re.Match[str] | None:
    found = _SHARD.fullmatch(stem)
    # Without separators around it, `of` occurs in other names: top10of2020.
    bare = found and not (found["sign"] and len(found["of"]) == len("-of-"))
    return None if found and bare and len(found["number"]) != len(found["total"]) else found


def data_stem(path: Path) -> str:
    """Return a file's name without its extension, or without both extensions if it is compressed."""
    return Path(path.stem).stem if path.suffix.lower() in PACKED else path.stem


def require_whole(files: Iterable[Path]) -> None:
    """Make sure that every set of shards is complete and without duplicates.

    Args:
        files: the files that are read together; files that are not shards are ignored.

    Raises:
        DataError: shards are missing, occur twice, or belong to sets of different totals; the message names them.
    """
    groups: dict[tuple[Path, str], list[Path]] = {}
    for file in files:
        if is_shard(data_stem(file)):
            groups.setdefault((file.parent, without_shard(data_stem(file))), []).append(file)
    for (folder, name), shards in groups.items():
        _require_all(folder, name, sorted(shards))


def _require_all(folder: Path, name: str, shards: list[Path]) -> None:
    found = [match for match in (_shard(data_stem(shard)) for shard in shards) if match]
    totals = sorted({int(match["total"]) for match in found})
    if len(totals) > 1:
        raise DataError(
            f"{folder} has shards of {name} from sets of {' and of '.join(map(str, totals))}: keep those of one"
        )
    numbers = [int(match["number"]) for match in found]
    doubled = next((number for number in numbers if numbers.count(number) > 1), None)
    if doubled is not None:
        twice = ", ".join(shard.name for shard, number in zip(shards, numbers, strict=True) if number == doubled)
        raise DataError(f"{folder} has more than one file for one shard of {name}: {twice}; keep one")
    first = _first(found, numbers, totals[0])
    wanted = range(first, totals[0] + first)
    outside = next((number for number in numbers if number not in wanted), None)
    if outside is not None:
        raise DataError(f"{folder} has a shard {outside} of {name}, but of {totals[0]} in all: check their names")
    if len(numbers) < len(wanted):
        there = set(numbers)
        missing = list(itertools.islice((number for number in wanted if number not in there), _SHOWN))
        raise DataError(f"{folder} lacks {_named(shards[0], found[0], missing, len(wanted) - len(numbers))}")


def _first(found: list[re.Match[str]], numbers: list[int], total: int) -> int:
    """Return the first number of a set, 0 or 1. If both ends are missing, numbers without leading zeros start at 1."""
    if 0 in numbers:
        return 0
    return int(total in numbers or all(match["number"] == str(int(match["number"])) for match in found))


def _named(shard: Path, match: re.Match[str], missing: list[int], count: int) -> str:
    """Return the names of missing shards, in the format of an existing one."""
    extension = shard.name[len(data_stem(shard)) :]
    names = [
        f"{match['name']}{match['sign']}{number:0{len(match['number'])}}{match['of']}{match['total']}{extension}"
        for number in missing
    ]
    more = f" and {count - len(missing)} more" if count > len(missing) else ""
    return f"{', '.join(names)}{more}: a data set in shards needs all of them"
