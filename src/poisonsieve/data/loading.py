"""Loading a data set by name as a `datasets.Dataset` with the columns `text` and `label`.

A name is ``packaged:NAME``, ``hub:ID``, or the path of a file or folder; a trailing ``#dev`` selects a split.
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
    """Options for reading files: their column names, and whether labels are required."""

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

    A folder with files named after splits (``train.jsonl``, ``sst2_validation.csv``) consists of those splits, which all
    use the class names of the train split. Any other folder is the sum of its files. A single file is read completely,
    whatever `split` says. A folder written by OpenBackdoor consists of the splits ``train-poison``, ``test-poison``,
    ``test-detect`` and so on; there train and test mean the poisoned splits, and dev the clean one.

    Args:
        spec: ``packaged:NAME``, ``hub:ID`` or a path; a trailing ``#SPLIT`` takes precedence over `split`.
        split: ``train``, ``dev`` or ``test``; ``validation``, ``valid`` and ``val`` mean dev. Data sets of the hub may
            have others.
        label_names: the classes of the model for which the data are loaded. Labels are mapped to them.
        columns: names of the text and label columns in the source.
        need_label: require labels. Otherwise, data without any label come without the column `label`.

    Returns:
        The rows in the order of the source, with the columns `text` (string) and `label` (`ClassLabel`), and
        `triggered` (bool) if the files have the column `poison_label`.

    Raises:
        DataError: a row (named by file and line), a label, a split or a file cannot be used.
        HubError: the hub cannot be reached or has no such id.
        AssetError: a packaged data set cannot be fetched.
    """
    if not spec:
        raise DataError(
            f"the data set's name is empty; give a file, a folder, or one of {', '.join(dataset_names())}"
        )
    source, requested = _source_and_split(spec)
    named = requested or split
    wanted = SYNONYMS.get(named, named)
    kind, colon, name = source.partition(":")
    if colon and kind == "packaged":
        if columns.required():
            raise DataError(f"{source} has fixed columns; leave out {', '.join(columns.required())}")
        texts, labels, names = packaged.load(name, _known(wanted))
        return _dataset(texts, *_mapped(labels, names, label_names, source))
    if colon and kind == "hub":
        rows, classes = hub.load(name, "dev" if wanted == "dev" else named, columns, need_label)
        if classes is None:
            return _from_rows(rows, label_names, need_label)
        labels = encode_positions(rows, classes)
        return _dataset([row.text for row in rows], *_mapped(labels, classes, label_names, source))
    return _load_path(Path(source), wanted, label_names, requested, _Reading(columns, need_label))


def dataset_names() -> list[str]:
    """Return the names of the known data sets, as `load_dataset` takes them."""
    return [f"packaged:{name}" for name in packaged.packaged_names()] + [
        f"hub:{name}" for name in sorted(hub.ALIASES)
    ]


def labels_of(dataset: datasets.Dataset) -> list[str]:
    """Return the class names, by class number; an empty list for data without labels."""
    return list(dataset.features["label"].names) if "label" in dataset.features else []


def cut_words(dataset: datasets.Dataset, words: int) -> datasets.Dataset:
    """Return the rows with texts cut to `words` words, joined by spaces; shorter texts stay unchanged."""
    import datasets as hf

    columns: dict[str, Any] = {name: list(dataset[name]) for name in dataset.column_names}
    texts = [text if len(text.split()) <= words else " ".join(text.split()[:words]) for text in columns["text"]]
    return hf.Dataset.from_dict({**columns, "text": texts}, features=dataset.features)


def split_off(
    dataset: datasets.Dataset, share_or_rows: float | int, seed: int
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Hold out randomly drawn rows, stratified by class.

    Args:
        dataset: data with a column `label`.
        share_or_rows: a share of the rows (a float in (0, 1)) or a number of rows (an int).
        seed: seed of the random draw.

    Returns:
        The remaining and the held-out rows, disjoint and each in their original order.

    Raises:
        DataError: no row would be held out, or none would remain.
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
    # Shuffle the rows of each class and give each row its rank within the class as a share. The rows with the smallest
    # shares are then exactly `count` rows, with every class in proportion.
    place = np.empty(total)
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    held_out = np.zeros(total, dtype=bool)
    held_out[np.argsort(place, kind="stable")[:count]] = True
    return dataset.select(np.flatnonzero(~held_out)), dataset.select(np.flatnonzero(held_out))


def _source_and_split(spec: str) -> tuple[str, str | None]:
    source, hash_sign, split = spec.rpartition("#")
    if not hash_sign or exists(Path(spec)):  # a path may contain a #
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
    """Express class numbers and names in terms of the model's classes, if given."""
    if label_names is None:
        return labels, names
    numbers = match_classes(names, label_names, source)
    return [numbers[label] for label in labels], list(label_names)


def _load_path(
    path: Path, split: str, label_names: Sequence[str] | None, requested: str | None, reading: _Reading
) -> datasets.Dataset:
    if not exists(path):
        raise DataError(f"{path}: no such file or folder; named data sets: {', '.join(dataset_names())}")
    if path.is_dir():
        return _load_folder(path, split, label_names, reading)
    _known(split)
    if format_of(path) is None:
        raise DataError(f"{path}: unknown format {path.suffix or '(no extension)'}; use {extensions()}{_hint(path)}")
    if requested:
        raise DataError(f"{path} is one file and has no splits; leave out #{requested}")
    return _from_rows(_rows_of([path], reading), label_names, reading.need_label)


def _hint(path: Path) -> str:
    return (
        " (one object per line: rename it to .jsonl; one list: jq -c '.[]')" if path.suffix.lower() == ".json" else ""
    )


def _load_folder(path: Path, split: str, label_names: Sequence[str] | None, reading: _Reading) -> datasets.Dataset:
    folder = read_folder(path)
    if not folder.openbackdoor:
        _known(split)
    if not folder.splits:
        return _from_rows(_rows_of(folder.files, reading), label_names, reading.need_label)
    files = folder.splits[folder.split_named(split, path)]
    if label_names is None:
        # A small split may lack a class and would number the others wrongly. In OpenBackdoor's folders any split may.
        others = folder.files if folder.openbackdoor else folder.splits.get("train", files)
        if others != files:
            rows = _rows_of(others, reading)
            label_names = encode_labels(rows, None)[1] if reading.need_label or _any_label(rows) else None
    return _from_rows(_rows_of(files, reading), label_names, reading.need_label)


def _rows_of(files: Iterable[Path], reading: _Reading) -> list[Labelled]:
    rows = []
    options: dict[str, Any] = {
        "need_label": reading.need_label,
        "extra": (POISON_COLUMN,),
        "columns": reading.columns,
    }
    for file in files:
        for record in read_records(file, format_of(file) or "", **options):
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
    """Tell whether any row has a label, even an invalid one; an empty field of a table does not count."""
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
