"""From a data set's name to a `datasets.Dataset` with the columns `text` and `label`.

A name is ``packaged:NAME``, ``hub:ID``, or the path of a file or folder; a trailing ``#dev`` picks a split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poisonsieve.data import hub, packaged
from poisonsieve.data.classes import match_classes
from poisonsieve.data.columns import AS_USUAL, POISON_COLUMN, Columns
from poisonsieve.data.files import exists, extensions, format_of, read_records
from poisonsieve.data.folders import SPLITS, SYNONYMS, read_folder
from poisonsieve.data.labels import Labelled, encode_labels, encode_positions, read_flag
from poisonsieve.errors import DataError
from poisonsieve.texts import TRIGGERED

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class _Reading:
    """How files are read: what their columns are called, and whether labels have to be there."""

    columns: Columns
    need_label: bool


def load_dataset(
    spec: str,
    *,
    split: str = "train",
    label_names: Sequence[str] | None = None,
    columns: Columns = AS_USUAL,
    need_label: bool = True,
) -> datasets.Dataset:
    """Load one split of a data set.

    A folder with files named after splits (``train.jsonl``, ``sst2_validation.csv``) holds those splits, and its other
    splits use the class names of its train split; any other folder is the sum of its files; a single file is taken
    whole, whatever `split` says. A folder that OpenBackdoor wrote holds the splits ``train-poison``, ``test-poison``,
    ``test-detect`` and so on; there train and test mean the poisoned ones, and dev the clean one.

    Args:
        spec: ``packaged:NAME``, ``hub:ID`` or a path; a trailing ``#SPLIT`` wins over `split`.
        split: ``train``, ``dev`` or ``test``; ``validation``, ``valid`` and ``val`` mean dev. The hub's data
            sets may have more.
        label_names: the classes of the model the data are for. Labels are mapped to them and must be among them.
        columns: what text and label are called in the source.
        need_label: insist on labels. Without, data in which no row has one come without the column `label`.

    Returns:
        Columns `text` (string) and `label` (`ClassLabel`), rows in their order in the source; and `triggered` (bool)
        where the files have the column `poison_label`.

    Raises:
        DataError: a row (named by file and line), a label, a split or a file cannot be used.
        HubError: the hub cannot be reached or has no such id.
        AssetError: a packaged data set cannot be fetched.
    """
    if not spec:
        raise DataError(f"no data set is named; give a file, a folder, or one of {', '.join(dataset_names())}")
    source, asked = _source_and_split(spec)
    named = asked or split
    wanted = SYNONYMS.get(named, named)
    kind, colon, name = source.partition(":")
    if colon and kind == "packaged":
        if columns.required():
            raise DataError(f"{source} has columns of its own; leave out {', '.join(columns.required())}")
        texts, labels, names = packaged.load(name, _known(wanted))
        return _dataset(texts, *_mapped(labels, names, label_names, source))
    if colon and kind == "hub":
        rows, classes = hub.load(name, "dev" if wanted == "dev" else named, columns, need_label)
        if classes is None:
            return _from_rows(rows, label_names, need_label)
        labels = encode_positions(rows, classes)
        return _dataset([row.text for row in rows], *_mapped(labels, classes, label_names, source))
    return _load_path(Path(source), wanted, label_names, asked, _Reading(columns, need_label))


def dataset_names() -> list[str]:
    """The data sets that are known by name, as they are given to `load_dataset`."""
    return [f"packaged:{name}" for name in packaged.packaged_names()] + [
        f"hub:{name}" for name in sorted(hub.ALIASES)
    ]


def labels_of(dataset: datasets.Dataset) -> list[str]:
    """Class names, by class number; none of data without labels."""
    return list(dataset.features["label"].names) if "label" in dataset.features else []


def cut_words(dataset: datasets.Dataset, words: int) -> datasets.Dataset:
    """The rows with their texts cut to as many words, a space between them; shorter texts stay as they are."""
    import datasets as hf

    columns: dict[str, Any] = {name: list(dataset[name]) for name in dataset.column_names}
    texts = [text if len(text.split()) <= words else " ".join(text.split()[:words]) for text in columns["text"]]
    return hf.Dataset.from_dict({**columns, "text": texts}, features=dataset.features)


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


def _load_path(
    path: Path, split: str, label_names: Sequence[str] | None, asked: str | None, reading: _Reading
) -> datasets.Dataset:
    if not exists(path):
        raise DataError(f"{path}: no such file or folder; named data sets: {', '.join(dataset_names())}")
    if path.is_dir():
        return _load_folder(path, split, label_names, reading)
    _known(split)
    if format_of(path) is None:
        raise DataError(f"{path}: unknown format {path.suffix or '(no extension)'}; use {extensions()}{_hint(path)}")
    if asked:
        raise DataError(f"{path} is one file and has no splits; leave out #{asked}")
    return _from_rows(_rows_of([path], reading), label_names, reading.need_label)


def _hint(path: Path) -> str:
    return (
        " (one object a line: rename it to .jsonl; one list: jq -c '.[]')" if path.suffix.lower() == ".json" else ""
    )


def _load_folder(path: Path, split: str, label_names: Sequence[str] | None, reading: _Reading) -> datasets.Dataset:
    folder = read_folder(path)
    if not folder.openbackdoor:
        _known(split)
    if not folder.splits:
        return _from_rows(_rows_of(folder.files, reading), label_names, reading.need_label)
    files = folder.splits[folder.split_named(split, path)]
    if label_names is None:
        # A small split may lack a class, and would number the others wrongly. In OpenBackdoor's folders any may.
        others = folder.files if folder.openbackdoor else folder.splits.get("train", files)
        if others != files:
            rows = _rows_of(others, reading)
            label_names = encode_labels(rows, None)[1] if reading.need_label or _any_label(rows) else None
    return _from_rows(_rows_of(files, reading), label_names, reading.need_label)


def _rows_of(files: Iterable[Path], reading: _Reading) -> list[Labelled]:
    rows = []
    how: dict[str, Any] = {"need_label": reading.need_label, "extra": (POISON_COLUMN,), "columns": reading.columns}
    for file in files:
        for record in read_records(file, format_of(file) or "", **how):
            where = f"{file}:{record.line}"
            if record.text is None:
                raise DataError(f"{where}: {record.error}")
            rows.append(Labelled(where, record.text, record.label, record.extra.get(POISON_COLUMN)))
    if not rows:
        raise DataError(f"{', '.join(map(str, files))}: no rows")
    return rows


def _from_rows(rows: Sequence[Labelled], label_names: Sequence[str] | None, need_label: bool) -> datasets.Dataset:
    triggered = None
    if any(row.poisoned is not None for row in rows):
        triggered = [read_flag(row.poisoned, row.where, POISON_COLUMN) for row in rows]
    texts = [row.text for row in rows]
    if not need_label and not _any_label(rows):
        return _dataset(texts, None, [], triggered)
    return _dataset(texts, *encode_labels(rows, label_names), triggered)


def _any_label(rows: Iterable[Labelled]) -> bool:
    """Whether a row has a label, or what is there in place of one; an empty field of a table is none."""
    return any(row.label is not None and row.label != "" for row in rows)


def _dataset(
    texts: list[str], labels: list[int] | None, names: list[str], triggered: list[bool] | None = None
) -> datasets.Dataset:
    import datasets

    features: dict[str, Any] = {"text": datasets.Value("string")}
    columns: dict[str, list[Any]] = {"text": texts}
    if labels is not None:
        features["label"], columns["label"] = datasets.ClassLabel(names=names), labels
    if triggered is not None:
        features[TRIGGERED], columns[TRIGGERED] = datasets.Value("bool"), triggered
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))
