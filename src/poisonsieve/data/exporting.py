"""Writing the rows of a data set to a file that every command reads."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from poisonsieve.data.label_values import number_value
from poisonsieve.data.loading import labels_of
from poisonsieve.errors import ConfigError
from poisonsieve.storage import writing_file

if TYPE_CHECKING:
    import datasets


def write_file(data: datasets.Dataset, path: Path) -> None:
    """Write `text` and `label` of every row, as JSON lines or CSV by the ending of the file's name.

    A label is the name of its class, or its number where names are numbers, so that loading the file gives the same.

    Raises:
        ConfigError: the file's name ends otherwise.
        OutputError: the file cannot be written.
    """
    if path.suffix.lower() not in (".jsonl", ".csv"):
        raise ConfigError(f"{path}: rows are written as JSON lines or CSV; let the name end in .jsonl or .csv")
    with writing_file(path) as stream:
        if path.suffix.lower() == ".csv":
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(("text", "label"))
            table.writerows(_rows(data))
        else:
            for text, label in _rows(data):
                print(json.dumps({"text": text, "label": label}, ensure_ascii=False), file=stream)


def _rows(data: datasets.Dataset) -> Iterator[tuple[str, str | int]]:
    names = labels_of(data)
    plain = all(number_value(name) is not None for name in names)
    for text, label in zip(data["text"], data["label"], strict=True):
        yield text, label if plain else names[label]
