"""Assigning the files of a folder to splits, by their names.

A file belongs to a split if the split's name is a word of the file's name: ``train.jsonl``, ``sst2_train.csv``,
``TestData.parquet``, ``training-set.tsv``. Nothing in such a folder is silently ignored: a data file that belongs to no
split, or an unreadable file named after a split, is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from poisonsieve.data.files import extensions, format_of
from poisonsieve.data.left_out import is_data, refuse_left_out
from poisonsieve.data.shards import data_stem, is_shard, require_whole, without_shard
from poisonsieve.errors import DataError

SPLITS = ("train", "dev", "test")
#: Splits by the words that mean them. `eval` is left out: it means dev to some and test to others.
SYNONYMS = {
    **dict.fromkeys(("train", "training", "trainset", "trainingset"), "train"),
    **dict.fromkeys(("dev", "validation", "valid", "val", "development", "devset", "validset", "valset"), "dev"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}
_DATA_WORDS = ("data", "dataset", "split", "splits", "set")
#: OpenBackdoor's names of the files in ``poison_data/DATA SET/TARGET/ATTACK``, each a split of its own.
OPENBACKDOOR = ("train-poison", "train-clean", "dev-poison", "dev-clean", "test-poison", "test-clean", "test-detect")
# Dev rows serve for calibration and other choices, which must rest on clean rows only.
_ITS_SPLITS = {"train": "train-poison", "dev": "dev-clean", "test": "test-poison"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")
_LETTERS = {"train": "train", "valid": "dev", "test": "test", "dev": "dev", "val": "dev"}
_OTHER_WORDS = re.compile(r"latest|greatest|contest|protest|fastest|strain|trainer|devic|devel|interval|value|evalu")
# Files that share a name with data but are not data.
_NO_DATA = frozenset(
    (".cfg", ".css", ".err", ".html", ".ini", ".ipynb", ".js", ".lock", ".log", ".md", ".md5", ".out")
)
_NO_DATA |= {".pdf", ".png", ".py", ".r", ".rst", ".sh", ".sha256", ".svg", ".toml", ".yaml", ".yml"}


@dataclass(frozen=True)
class Folder:
    """The data files of a folder.

    Attributes:
        files: all data files, sorted by name.
        splits: files by split; empty if no file is named after a split, so that the folder is the sum of its files.
        openbackdoor: whether the splits are OpenBackdoor's.
    """

    files: list[Path]
    splits: Mapping[str, list[Path]]
    openbackdoor: bool = False

    def split_named(self, wanted: str, folder: Path) -> str:
        """Return the split meant by a role (train, dev, test) or by its own name.

        Raises:
            DataError: there is no such split; the message lists those there are.
        """
        found = _ITS_SPLITS.get(wanted, wanted) if self.openbackdoor else wanted
        if found in self.splits:
            return found
        hint = f"; name one of them ({folder}#{next(iter(self.splits))})" if self.openbackdoor else ""
        raise DataError(f"{folder} has no split {found}; it has: {', '.join(self.splits)}{hint}")


def read_folder(folder: Path) -> Folder:
    """Examine a folder by the names of its files, without opening them.

    Raises:
        DataError: there is no data file, the names are ambiguous, or some files would go unread.
    """
    try:
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        every = [path for path in inside if path.is_file()]
        _refuse_data_below(folder, [path for path in inside if path.is_dir()])
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from error
    files = [file for file in every if format_of(file)]
    refuse_left_out(every)
    if _are_openbackdoors(files):
        return Folder(files, _each_once(folder, files), openbackdoor=True)
    splits = _by_split(folder, files)
    _refuse_unread(folder, [file for file in every if file not in files], files)
    if not files:
        raise DataError(f"{folder} holds no data file; use {extensions()}")
    require_whole(files)
    if splits and (others := [file.name for file in files if not any(file in named for named in splits.values())]):
        raise DataError(
            f"{folder} has files named after splits and {', '.join(others)}, which would go unread: name it after a "
            "split, move it elsewhere, or give one file at a time"
        )
    if not splits:
        _refuse_half_named(folder, files)
    return Folder(files, splits)


def split_of(file: Path) -> str | None:
    """Return the split named in a file's name, or None.

    Raises:
        DataError: the name contains two splits.
    """
    found = {SYNONYMS[word] for word in _words(file) if word in SYNONYMS}
    if len(found) > 1:
        raise DataError(f"{file}: its name holds both {' and '.join(sorted(found))}; rename it, or give it by itself")
    return found.pop() if found else None


def _words(file: Path) -> list[str]:
    return [word.lower() for word in _WORD.findall(without_shard(data_stem(file)))]


def _are_openbackdoors(files: Iterable[Path]) -> bool:
    names = {data_stem(file) for file in files}
    return names.issubset(OPENBACKDOOR) and any(not name.endswith("-clean") for name in names)


def _each_once(folder: Path, files: Iterable[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(data_stem(file), []).append(file)
    for split, candidates in found.items():
        _require_one(folder, split, candidates)
    return {split: found[split] for split in OPENBACKDOOR if split in found}


def _by_split(folder: Path, files: Iterable[Path]) -> dict[str, list[Path]]:
    """Group files by the split they are named after, with shards together, in the order train, dev, test."""
    found: dict[str, list[Path]] = {}
    for file in files:
        if split := split_of(file):
            found.setdefault(split, []).append(file)
    for split, candidates in found.items():
        whole = {without_shard(data_stem(file)) for file in candidates if is_shard(data_stem(file))}
        if len(whole) != 1 or not all(is_shard(data_stem(file)) for file in candidates):
            _require_one(folder, split, candidates)
    return {split: found[split] for split in SPLITS if split in found}


def _require_one(folder: Path, split: str, candidates: list[Path]) -> None:
    if len(candidates) > 1:
        names = ", ".join(file.name for file in candidates)
        raise DataError(f"{folder} has more than one file for the split {split}: {names}; keep one")


def _refuse_unread(folder: Path, others: Iterable[Path], files: Iterable[Path]) -> None:
    """Refuse files in other formats that are named like a split: the split alone, or with the words of a data file.

    Raises:
        DataError: there is such a file.
    """
    beside = [[], *(_other_words(file) for file in files if split_of(file))]
    for file in others:
        if file.suffix.lower() in _NO_DATA or not (split := _only_split(file)) or _other_words(file) not in beside:
            continue
        raise DataError(
            f"{file} is named after the split {split}, but its format is not read: write it as one of {extensions()}, "
            "or move it elsewhere"
        )


def _refuse_data_below(folder: Path, subfolders: Iterable[Path]) -> None:
    """Refuse data in subfolders named after splits or data, as in hub repositories.

    Raises:
        DataError: there is such a subfolder.
        OSError: a subfolder cannot be read.
    """
    found = [path for path in subfolders if _holds_split(path) and any(map(is_data, path.rglob("*")))]
    if found:
        raise DataError(
            f"{folder} has data in {', '.join(f'{path.name}/' for path in found)}, which would go unread: give {found[0]}, "
            f"put the files into one folder under names such as train.jsonl and test.jsonl, or move it elsewhere"
        )


def _holds_split(folder: Path) -> bool:
    words = [word.lower() for word in _WORD.findall(folder.name)]
    return bool(words) and all(word in SYNONYMS or word in _DATA_WORDS for word in words)


def _only_split(file: Path) -> str | None:
    found = {SYNONYMS[word] for word in _words(file) if word in SYNONYMS}
    return found.pop() if len(found) == 1 else None


def _other_words(file: Path) -> list[str]:
    return [word for word in _words(file) if word not in SYNONYMS]


def _refuse_half_named(folder: Path, files: Iterable[Path]) -> None:
    """Refuse names such as ``traindata`` and ``testdata``, which mean splits without containing them as words.

    Raises:
        DataError: the file names contain the letters of two splits.
    """
    found: dict[str, str] = {}
    for file in files:
        name = _OTHER_WORDS.sub(" ", without_shard(data_stem(file)).lower())
        for letters, split in _LETTERS.items():
            # Three letters occur in many words, so they count only at the start of one.
            if re.search(letters if len(letters) > 3 else rf"(?<![a-z]){letters}", name):
                found.setdefault(split, file.name)
    if len(found) > 1:
        found = {split: found[split] for split in SPLITS if split in found}
        raise DataError(
            f"{folder} holds {', '.join(found.values())}, which look like the splits {', '.join(found)}: name them "
            f"{', '.join(f'{split}.jsonl' for split in found)} or the like, or give one file at a time"
        )
