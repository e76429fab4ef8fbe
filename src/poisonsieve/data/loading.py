"""From a data set's name to a `datasets.Dataset` with the columns `text` and `label`.

A name is ``packaged:NAME``, ``hub:ID``, or the path of a file or folder; a trailing ``#dev`` picks a split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from poisonsieve.data import hub, packaged
from poisonsieve.data.files import FORMATS, exists, format_of, read_records
from poisonsieve.data.labels import Labelled, encode_labels, match_classes
from poisonsieve.errors import DataError

if TYPE_CHECKING:
    import datasets

SPLITS = ("train", "dev", "test")
_SYNONYMS = {"validation": "dev", "valid": "dev", "val": "dev"}
_SHARD = re.compile(r"-\d+-of-\d+$")


def load_dataset(spec: str, *, split: str = "train", label_names: Sequence[str] | None = None) -> datasets.Dataset:
    """Load one split of a data set.

    A folder with files named after splits (``train.jsonl``, ``validation.csv``) holds those splits, and its other
    splits use the class names of its train split; any other folder is the sum of its files; a single file is taken
    whole, whatever `split` says.

    Args:
        spec: ``packaged:NAME``, ``hub:ID`` or a path; a trailing ``#SPLIT`` wins over `split`.
        split: ``train``, ``dev`` or ``test``; ``validation``, ``valid`` and ``val`` mean dev. The hub's data
            sets may have more.
        label_names: the classes of the model the data are for. Labels are mapped to them and must be among them.

    Returns:
        Columns `text` (string) and `label` (`ClassLabel`), rows in their order in the source.

    Raises:
        DataError: a row (named by file and line), a label, a split or a file cannot be used.
        HubError: the hub cannot be reached or has no such id.
        AssetError: a packaged data set cannot be fetched.
    """
    if not spec:
        raise DataError(f"no data set is named; give a file, a folder, or one of {', '.join(dataset_names())}")
    source, asked = _source_and_split(spec)
    wanted = _SYNONYMS.get(asked or split, asked or split)
    kind, colon, name = source.partition(":")
    if colon and kind == "packaged":
        texts, labels, names = packaged.load(name, _known(wanted))
        return _dataset(texts, *_mapped(labels, names, label_names, source))
    if colon and kind == "hub":
        rows, classes = hub.load(name, wanted)
        if classes is None:
            return _from_rows(rows, label_names)
        labels, names = encode_labels(rows, classes)
        return _dataset([row.text for row in rows], *_mapped(labels, names, label_names, source))
    return _load_path(Path(source), _known(wanted), label_names, asked)


def dataset_names() -> list[str]:
    """The data sets that are known by name, as they are given to `load_dataset`."""
    return [f"packaged:{name}" for name in packaged.packaged_names()] + [
        f"hub:{name}" for name in sorted(hub.ALIASES)
    ]


def labels_of(dataset: datasets.Dataset) -> list[str]:
    """Class names, by class number."""
    return list(dataset.features["label"].names)


def split_off(
    dataset: datasets.Dataset, share_or_rows: float | int, seed: int
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Hold out rows, each class in its share, drawn by `seed`.

    Args:
        dataset: with a `label` column.
        share_or_rows: a share of the rows (a float in (0, 1)) or a number of rows (an int).
        seed: decides the rows.

    Returns:
        The rest and the held-out rows, each in the order they had; no row is in both.

    Raises:
        DataError: nothing would be held out, or nothing left.
    """
    import numpy as np

    total = len(dataset)
    count = round(total * share_or_rows) if isinstance(share_or_rows, float) else int(share_or_rows)
    if not 0 < count < total:
        raise DataError(
            f"cannot hold out {share_or_rows} of {total} rows; give a share between 0 and 1, or 1 to {total - 1} rows"
        )
    labels = np.asarray(dataset["label"])
    generator = np.random.default_rng(seed)
    # Rows of each class in random order, each given its rank within the class as a share: taking the smallest
    # shares first takes every class in proportion, and `count` rows exactly.
    place = np.empty(total)
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    held_out = np.zeros(total, dtype=bool)
    held_out[np.argsort(place, kind="stable")[:count]] = True
    return dataset.select(np.flatnonzero(~held_out)), dataset.select(np.flatnonzero(held_out))


def _source_and_split(spec: str) -> tuple[str, str | None]:
    source, hash_sign, split = spec.rpartition("#")
    if not hash_sign or exists(Path(spec)):  # a path may hold a # of its own
        return spec, None
    if not source or not split:
        raise DataError(f"{spec!r} is not SOURCE#SPLIT; example: packaged:product-reviews#dev")
    return source, split


def _known(split: str) -> str:
    if split not in SPLITS:
        raise DataError(f"no split is called {split!r}; use train, dev (or validation) or test")
    return split


def _mapped(
    labels: list[int], names: list[str], label_names: Sequence[str] | None, source: str
) -> tuple[list[int], list[str]]:
    """Class numbers and names in terms of the model's classes, if given."""
    if label_names is None:
        return labels, names
    numbers = match_classes(names, label_names, source)
    return [numbers[label] for label in labels], list(label_names)


def _load_path(path: Path, split: str, label_names: Sequence[str] | None, asked: str | None) -> datasets.Dataset:
    if not exists(path):
        raise DataError(f"{path}: no such file or folder; named data sets: {', '.join(dataset_names())}")
    if path.is_dir():
        return _load_folder(path, split, label_names)
    if format_of(path) is None:
        raise DataError(f"{path}: unknown format {path.suffix or '(no extension)'}; use {_extensions()}")
    if asked:
        raise DataError(f"{path} is one file and has no splits; leave out #{asked}")
    return _from_rows(_rows_of([path]), label_names)


def _load_folder(folder: Path, split: str, label_names: Sequence[str] | None) -> datasets.Dataset:
    try:
        files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from error
    files = [file for file in files if format_of(file)]
    if not files:
        raise DataError(f"{folder} holds no data file; use {_extensions()}")
    by_split = _by_split(files)
    if not by_split:
        return _from_rows(_rows_of(files), label_names)
    if split not in by_split:
        raise DataError(f"{folder} has no split {split}; it has: {', '.join(by_split)}")
    if label_names is None and split != "train" and "train" in by_split:
        # A small split may lack a class, and would number the others wrongly.
        label_names = encode_labels(_rows_of(by_split["train"]), None)[1]
    return _from_rows(_rows_of(by_split[split]), label_names)


def _by_split(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Files named after a split, shards such as ``train-00000-of-00002`` together, in the order train, dev, test."""
    found: dict[str, list[Path]] = {}
    for file in files:
        stem = _SHARD.sub("", file.stem.lower())
        split = _SYNONYMS.get(stem, stem)
        if split in SPLITS:
            found.setdefault(split, []).append(file)
    for split, candidates in found.items():
        if len(candidates) > 1 and not all(_SHARD.search(file.stem) for file in candidates):
            names = ", ".join(file.name for file in candidates)
            raise DataError(f"{candidates[0].parent} has more than one file for the split {split}: {names}; keep one")
    return {split: found[split] for split in SPLITS if split in found}


def _rows_of(files: Iterable[Path]) -> list[Labelled]:
    rows = []
    for file in files:
        for record in read_records(file, format_of(file) or "", need_label=True):
            where = f"{file}:{record.line}"
            if record.text is None:
                raise DataError(f"{where}: {record.error}")
            rows.append(Labelled(where, record.text, record.label))
    if not rows:
        raise DataError(f"{', '.join(map(str, files))}: no rows")
    return rows


def _from_rows(rows: Sequence[Labelled], label_names: Sequence[str] | None) -> datasets.Dataset:
    return _dataset([row.text for row in rows], *encode_labels(rows, label_names))


def _dataset(texts: list[str], labels: list[int], names: list[str]) -> datasets.Dataset:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    return datasets.Dataset.from_dict({"text": texts, "label": labels}, features=features)


def _extensions() -> str:
    return ", ".join(FORMATS)
