"""A grid's file made ready to travel: at one scale, cut by data set and model, naming what is in the kit alone.

The cut keeps each process's results file small: `bench run` brings all cells of its file up to date whenever a cell is
done. Stages are shared all the same, since they are known by their content.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gpu.parts import KitError
from poisonsieve.bench.spec import at_scale, expand, load_grid
from poisonsieve.models.packaged import packaged_names

DATA = "{data}"
#: Where a model of the kit lies as seen from the data: the one folder that `bench run` is told of.
_WEIGHTS = f"{DATA}/../weights"
_DATA_FILE = re.compile(r"\{data\}/([^,\"'=]+?\.(?:jsonl|ndjson|csv|tsv|parquet))")


@dataclass(frozen=True)
class TravellingGrid:
    """What of a grid goes into a kit.

    Attributes:
        name: of the grid and its scale.
        slices: content of each file, by its name without the ending.
        models: folder in the kit's `weights` -> what the grid's file calls the model; in the order of their use.
        data: files below the data root.
        rows: data set with clean rows, for checks and timings: ``{data}/...`` or ``packaged:...``.
        text: the whole of it, to look for other needs in.
    """

    name: str
    slices: dict[str, dict[str, Any]]
    models: dict[str, str]
    data: list[str]
    rows: str
    text: str


def travelling(file: Path, scale: str | None, also: list[str]) -> TravellingGrid:
    """Read a grid's file at a scale.

    Args:
        file: as `bench run` takes it.
        scale: as `bench run` takes it.
        also: models that defences or attacks name by other than a packaged alias.
    """
    content = at_scale(yaml.safe_load(file.read_text(encoding="utf-8")), scale)
    if scale is None and "scale" in content:
        raise KitError(f"{file} has scales; choose one with --scale")
    text = yaml.safe_dump(content, sort_keys=False)
    entries = [str(entry["model"]) for entry in content["models"].values()]
    named = [name for name in packaged_names() if re.search(rf"={re.escape(name)}(?=[,\s'\"]|$)", text)]
    sources = list(dict.fromkeys([*entries, *named, *also]))
    models = {folder_name(source): source for source in sources}
    if len(models) < len(sources):
        raise KitError(f"two of the models {', '.join(sources)} would have one folder; give one of them another path")
    data = sorted(set(_DATA_FILE.findall(text)))
    if text.count(f"{DATA}/") > len(_DATA_FILE.findall(text)):
        raise KitError(f"{file} names folders below {DATA}; name their files, so that they can be carried")
    local = _localised(content, {source: f"{_WEIGHTS}/{folder}" for folder, source in models.items()})
    name = file.stem if scale is None else f"{file.stem}-{scale}"
    slices = {
        f"{name}--{folder_name(dataset)}--{folder_name(model)}": {
            **local,
            "datasets": {dataset: local["datasets"][dataset]},
            "models": {model: local["models"][model]},
        }
        for model in local["models"]
        for dataset in local["datasets"]
    }
    rows = str(next(iter(local["datasets"].values()))["data"]["train"])
    return TravellingGrid(name, slices, models, data, rows, text)


def groups(slices: dict[str, Path], data_root: Path) -> list[dict[str, Any]]:
    """What one process does at a time: an attack on a model and a data set with one seed, its victims and defences.

    The order is that of value: all of the first seed comes before the second.

    Args:
        slices: the files that `travelling` cut, written out.
        data_root: where their data are.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, file in slices.items():
        needs = sorted(set(re.findall(r"weights/([\w.-]+)", file.read_text(encoding="utf-8"))))
        for cell in expand(load_grid(file, data_root=data_root)):
            only = {axis: str(getattr(cell, axis)) for axis in ("dataset", "setting", "model", "attack", "seed")}
            group = found.setdefault(
                (name, *only.values()), {"file": name, "only": only, "cells": 0, "weights": needs}
            )
            group["cells"] += 1
    return sorted(found.values(), key=lambda group: int(group["only"]["seed"]))


def parquet_name(name: str) -> str:
    """What a data file is called in the kit."""
    return str(Path(name).with_suffix(".parquet"))


def folder_name(words: str) -> str:
    """`words` as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", words.strip("/")).strip("._") or "_"


def _localised(value: Any, places: dict[str, str]) -> Any:
    """`value` with the kit's names: Parquet for data, folders for models."""
    if isinstance(value, dict):
        return {key: _localised(entry, places) for key, entry in value.items()}
    if isinstance(value, list):
        return [_localised(entry, places) for entry in value]
    if not isinstance(value, str):
        return value
    if value in places:
        return places[value]
    for source, place in places.items():
        value = re.sub(rf"={re.escape(source)}(?=,|$)", f"={place}", value)
    return _DATA_FILE.sub(lambda found: f"{DATA}/{parquet_name(found[1])}", value)
