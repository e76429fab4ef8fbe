"""Fetching the paper's data sets from the hub, once, as the files that the experiments read.

Each becomes a folder with ``train.jsonl``, ``dev.jsonl``, ``test.jsonl``, and `RECORD`, which holds their source and
sha256. So an interrupted fetch can be resumed, a complete set is only verified, and a file that was not fetched is
never replaced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poisonsieve.config import Spec
from poisonsieve.data import hub
from poisonsieve.data.loading import load_dataset, split_off
from poisonsieve.errors import ConfigError, DataError
from poisonsieve.parsing import parse_json
from poisonsieve.storage import reporting_write_errors, sha256_file, write_json, writing_file

if TYPE_CHECKING:
    import datasets

RECORD = "fetched.json"
SPLITS = ("train", "dev", "test")
_SEED = 0  # fixed, so that the same dev rows are always held out


@dataclass(frozen=True)
class Source:
    """A data set of the hub as it was published.

    Attributes:
        id: hub id.
        rows: number of rows by split, under our names of the splits.
        held_out: number of dev rows taken from the training rows, if the hub has no dev split.
    """

    id: str
    rows: Mapping[str, int]
    held_out: int = 0


SOURCES: Mapping[str, Source] = {
    # The paper's version, whole sentences; stanfordnlp/sst2 has their 67,349 phrases and no test labels.
    "sst2": Source("SetFit/sst2", {"train": 6_920, "dev": 872, "test": 1_821}),
    "cr": Source("SetFit/CR", {"train": 3_394, "test": 376}, held_out=500),
    "mr": Source("cornell-movie-review-data/rotten_tomatoes", {"train": 8_530, "dev": 1_066, "test": 1_066}),
    "imdb": Source("stanfordnlp/imdb", {"train": 25_000, "test": 25_000}, held_out=1_000),
    "ag_news": Source("fancyzhx/ag_news", {"train": 120_000, "test": 7_600}, held_out=1_000),
}


class Fetched(Spec):
    """The record of a fetched data set, stored in `RECORD`.

    Attributes:
        name: name of the data set.
        id: hub id.
        revision: commit on the hub; None if the hub did not answer and the rows came from the local cache.
        licence: licence stated by the hub; None if it states none or did not answer.
        rows: number of rows by split.
        sha256: digest of each file, by split.
    """

    name: str
    id: str
    revision: str | None
    licence: str | None
    rows: dict[str, int]
    sha256: dict[str, str]


def fetch_set(name: str, root: Path, *, force: bool = False) -> tuple[Fetched, bool]:
    """Make sure that a data set is in ``root/name``.

    Args:
        name: a key of `SOURCES`.
        root: the folder that ``{data}`` stands for in an experiment file.
        force: replace files that were not fetched or have changed since.

    Returns:
        The record of the data set, and whether it was already there, unchanged.

    Raises:
        ConfigError: there is no such data set.
        HubError: the hub cannot be reached.
        DataError: the hub's number of rows is not the published one, or other files are in the way.
        OutputError: the files cannot be written.
    """
    if name not in SOURCES:
        raise ConfigError(f"no data set to fetch is called {name!r}; there are: {', '.join(SOURCES)}")
    folder = root / name
    known, there = _read_record(folder), _digests(folder)
    if known is not None and known.sha256 == there:
        return known, True
    if not force:
        _refuse_foreign(folder, there, known)
    source = SOURCES[name]
    facts = hub.facts(source.id)
    contents = {split: _lines(rows) for split, rows in _splits(source).items()}
    digests = {split: hashlib.sha256(content.encode()).hexdigest() for split, content in contents.items()}
    rows = {split: content.count("\n") for split, content in contents.items()}
    fetched = Fetched(
        name=name, id=source.id, revision=facts.revision, licence=facts.licence, rows=rows, sha256=digests
    )
    # First, so that the files of an interrupted fetch are known to be ours.
    write_json(folder / RECORD, fetched.model_dump())
    for split, content in contents.items():
        with writing_file(folder / f"{split}.jsonl") as stream:
            stream.write(content)
    return fetched, False


def _splits(source: Source) -> dict[str, datasets.Dataset]:
    """Load the rows by split, checking their published number.

    Raises:
        HubError, DataError: see `fetch_set`.
    """
    found = {split: load_dataset(f"hub:{source.id}", split=split) for split in source.rows}
    for split, rows in found.items():
        if len(rows) != source.rows[split]:
            raise DataError(
                f"hub:{source.id}#{split} has {len(rows):,} rows, but {source.rows[split]:,} were published, so known "
                "results do not apply to it; to use it anyway, name the data as hub:ID"
            )
    if source.held_out:
        found["train"], found["dev"] = split_off(found["train"], source.held_out, _SEED)
    return {split: found[split] for split in SPLITS}


def _lines(rows: datasets.Dataset) -> str:
    """Write one JSON object per line."""
    return "".join(json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in rows)


def _digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of each existing file, by split.

    Raises:
        OutputError: a file cannot be read.
    """
    files = {split: folder / f"{split}.jsonl" for split in SPLITS}
    with reporting_write_errors(folder):
        return {split: sha256_file(file) for split, file in files.items() if file.is_file()}


def _read_record(folder: Path) -> Fetched | None:
    try:
        return Fetched.model_validate(parse_json((folder / RECORD).read_bytes()))
    except (OSError, ValueError):  # missing, or not written by us
        return None


def _refuse_foreign(folder: Path, there: Mapping[str, str], known: Fetched | None) -> None:
    """Refuse to replace files that were not fetched, or have changed since.

    Raises:
        DataError: there is such a file.
    """
    fetched = {} if known is None else known.sha256
    foreign = [f"{split}.jsonl" for split, digest in there.items() if fetched.get(split) != digest]
    if foreign:
        raise DataError(
            f"{folder} holds {', '.join(foreign)}, which was not fetched or was changed since; choose another --out, or "
            "--force to replace it"
        )
