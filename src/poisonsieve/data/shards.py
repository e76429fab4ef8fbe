"""Files that are parts of one: ``train-00000-of-00003.jsonl`` and the two others."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path

from poisonsieve.errors import DataError

# `NAME-00000-of-00003`, and what the hub writes behind it at times: sixteen digits of a digest.
_SHARD = re.compile(
    r"(?P<name>.*?)(?P<sign>[-_. ]?)(?P<number>\d+)(?P<of>[-_. ]?of[-_. ]?)(?P<total>\d+)(-[0-9a-f]{16})?", re.I
)
#: What a packed file's name ends in.
PACKED = frozenset(
    (".gz", ".bz2", ".xz", ".lzma", ".zst", ".zip", ".lz4", ".7z", ".br", ".z", ".rar", ".tgz", ".tar")
)
_SHOWN = 5


def without_shard(stem: str) -> str:
    """The name of the whole: a stem without its number and total."""
    found = _shard(stem)
    return found["name"] if found else stem


def is_shard(stem: str) -> bool:
    """Whether a stem has a number and a total."""
    return _shard(stem) is not None


def _shard(stem: str) -> re.Match[str] | None:
    found = _SHARD.fullmatch(stem)
    # Without signs around it, `of` is in many names: top10of2020.
    bare = found and not (found["sign"] and len(found["of"]) == len("-of-"))
    return None if found and bare and len(found["number"]) != len(found["total"]) else found


def data_stem(path: Path) -> str:
    """A file's name without its extension, that of a packed file and what is before it alike."""
    return Path(path.stem).stem if path.suffix.lower() in PACKED else path.stem


def require_whole(files: Iterable[Path]) -> None:
    """Make sure that of each file that comes in shards all are there, once.

    Args:
        files: those that are read together; files that are no shards do not matter.

    Raises:
        DataError: some are missing, are there twice, or belong to sets of different totals; names them.
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
    """0 or 1, where a set counts from: where neither end is there, those that write no zeros before a number from 1."""
    if 0 in numbers:
        return 0
    return int(total in numbers or all(match["number"] == str(int(match["number"])) for match in found))


def _named(shard: Path, match: re.Match[str], missing: list[int], count: int) -> str:
    """The names of missing shards, written as that of one that is there."""
    extension = shard.name[len(data_stem(shard)) :]
    names = [
        f"{match['name']}{match['sign']}{number:0{len(match['number'])}}{match['of']}{match['total']}{extension}"
        for number in missing
    ]
    more = f" and {count - len(missing)} more" if count > len(missing) else ""
    return f"{', '.join(names)}{more}: a data set that comes in shards needs all of them"
