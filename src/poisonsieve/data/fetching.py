"""The paper's data sets, fetched from the hub once and written as the files that the experiments read.

Each becomes a folder with ``train.jsonl``, ``dev.jsonl``, ``test.jsonl``, and `RECORD`, which says where they are from and
what their sha256 is. So a set that was cut short goes on, one that is whole is only looked at, and a file that was not
fetched is not replaced.
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
_SEED = 0  # draws the dev rows that are held out; always the same


@dataclass(frozen=True)
class Source:
    """A data set of the hub as it was published.

    Attributes:
        id: on the hub.
        rows: how many each of its splits has, by our names of the splits.
        held_out: dev rows that are taken from the training rows, where the hub has no dev split.
    """

    id: str
    rows: Mapping[str, int]
    held_out: int = 0


SOURCES: Mapping[str, Source] = {
    # The sentences, as the paper has them; stanfordnlp/sst2 has their 67,349 phrases, and no test labels.
    "sst2": Source("SetFit/sst2", {"train": 6_920, "dev": 872, "test": 1_821}),
    "cr": Source("SetFit/CR", {"train": 3_394, "test": 376}, held_out=500),
    "mr": Source("cornell-movie-review-data/rotten_tomatoes", {"train": 8_530, "dev": 1_066, "test": 1_066}),
    "imdb": Source("stanfordnlp/imdb", {"train": 25_000, "test": 25_000}, held_out=1_000),
    "ag_news": Source("fancyzhx/ag_news", {"train": 120_000, "test": 7_600}, held_out=1_000),
}


class Fetched(Spec):
    """What is known of a fetched set; `RECORD` holds it.

    Attributes:
        name: of the set.
        id: on the hub.
        revision: the hub's commit; None if the hub did not answer, and the rows came from its cache.
        licence: as the hub states it; None where it states none, or did not answer.
        rows: how many each file has.
        sha256: of each file.
    """

    name: str
    id: str
    revision: str | None
    licence: str | None
    rows: dict[str, int]
    sha256: dict[str, str]


def fetch_set(name: str, root: Path, *, force: bool = False) -> tuple[Fetched, bool]:
    """Make sure that a set is in ``root/name``.

    Args:
        name: one of `SOURCES`.
        root: what ``{data}`` stands for in a file of experiments.
        force: replace files that are not those that were fetched.

    Returns:
        What was fetched, and whether it was there already, and unchanged.

    Raises:
        ConfigError: there is no such set.
        HubError: the hub cannot be reached.
        DataError: the hub's rows are not as many as were published, or other files are there.
        OutputError: they cannot be written.
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
    write_json(folder / RECORD, fetched.model_dump())  # first: files that it names are ours, also those of half a set
    for split, content in contents.items():
        with writing_file(folder / f"{split}.jsonl") as stream:
            stream.write(content)
    return fetched, False


def _splits(source: Source) -> dict[str, datasets.Dataset]:
    """The rows by split, as many as were published.

    Raises:
        HubError, DataError: see `fetch_set`.
    """
    found = {split: load_dataset(f"hub:{source.id}", split=split) for split in source.rows}
    for split, rows in found.items():
        if len(rows) != source.rows[split]:
            raise DataError(
                f"hub:{source.id}#{split} has {len(rows):,} rows, but {source.rows[split]:,} were published: it is not the "
                "set that results are known for; if you want it all the same, name it as hub:ID where data are named"
            )
    if source.held_out:
        found["train"], found["dev"] = split_off(found["train"], source.held_out, _SEED)
    return {split: found[split] for split in SPLITS}


def _lines(rows: datasets.Dataset) -> str:
    """One JSON object a row; no line break is in one but at its end."""
    return "".join(json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in rows)


def _digests(folder: Path) -> dict[str, str]:
    """The sha256 of the files that are there.

    Raises:
        OutputError: one cannot be read.
    """
    files = {split: folder / f"{split}.jsonl" for split in SPLITS}
    with reporting_write_errors(folder):
        return {split: sha256_file(file) for split, file in files.items() if file.is_file()}


def _read_record(folder: Path) -> Fetched | None:
    try:
        return Fetched.model_validate(parse_json((folder / RECORD).read_bytes()))
    except (OSError, ValueError):  # there is none, or it is none of ours
        return None


def _refuse_foreign(folder: Path, there: Mapping[str, str], known: Fetched | None) -> None:
    """Files that were not fetched, or were changed since, are not replaced.

    Raises:
        DataError: there are some.
    """
    fetched = {} if known is None else known.sha256
    foreign = [f"{split}.jsonl" for split, digest in there.items() if fetched.get(split) != digest]
    if foreign:
        raise DataError(
            f"{folder} holds {', '.join(foreign)}, which was not fetched, or was changed since; choose another --out, or "
            "--force to replace it"
        )
