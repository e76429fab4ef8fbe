"""Packs the kit, on a machine with a network: source, wheels, weights in half precision, data as Parquet."""

import json
import shutil
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from gpu.gridfile import DATA, TravellingGrid, groups, parquet_name, travelling
from gpu.parts import LARGEST_PART, KitError, write_parts
from gpu.wheels import Target, compare, download
from poisonsieve.assets import Asset, fetch
from poisonsieve.cli.experiments import find_config
from poisonsieve.pinned import PARSER, REVIEWS, TOPICS

PROJECT = Path(__file__).parents[2]
#: What words in a grid's file need from the package's cache of verified files.
_ASSETS: dict[str, Asset] = {
    "packaged:movie-reviews": REVIEWS,
    "packaged:product-reviews": REVIEWS,
    "packaged:topics": TOPICS,
    "synattack-rules": PARSER,
    "scpd-rules": PARSER,
}
_LARGEST_HALF = 65504.0


def pack(
    config: Path,
    *,
    target: dict[str, Any],
    out: Path,
    scale: str | None = None,
    data_root: Path | None = None,
    extras: list[str],
    replace: list[str],
    models: list[str],
    wheels: Path | None = None,
    largest: int = LARGEST_PART,
) -> dict[str, Any]:
    """Write the kit's parts into `out`, and return its manifest.

    Args:
        config: a grid's file, or the name of one that comes with the package.
        target: what `probe.py` printed on the machine that the kit is for.
        out: an absent or empty folder.
        scale: of the grid's file.
        data_root: what ``{data}`` stands for in it.
        extras: optional dependencies to carry too.
        replace: packages to carry in this machine's version although the target has another.
        models: models to carry beside those that the grid names.
        wheels: a folder with wheels of the user's own.
        largest: bytes of a part.

    Raises:
        KitError: the target cannot run the kit, a wheel does not fit it, a file is missing.
        PoisonsieveError: the grid's file is wrong, a model or data set cannot be had or is not the verified one.
    """
    machine = Target(target)
    grid = travelling(find_config(config, "grid"), scale, models)
    if any(asset is PARSER for asset in _assets(grid)):
        extras = [*dict.fromkeys([*extras, "syntax"])]
    lacking, differing = compare(PROJECT, extras, machine, replace)
    staging = out.with_name(f".{out.name}.packing")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _stage_source(staging / "source")
        carried = download(lacking, machine, staging / "wheels", wheels)
        _stage_data(grid, data_root, staging / "data")
        slices = _stage_slices(grid, staging / "grid")
        found = groups(slices, staging / "data")
        cache = _stage_assets(grid)
        for folder, source in grid.models.items():
            stage_weights(source, staging / "weights" / folder)
        files = [*_in_order(staging, list(grid.models)), *cache]
        facts = {
            "target": {key: target[key] for key in ("python", "machine", "glibc")}
            | {"torch": machine.packages["torch"]},
            "wheels": [wheel.name for wheel in carried],
            "differing": differing,
            "grid": {"name": grid.name, "rows": grid.rows, "groups": found},
            "models": grid.models,
        }
        return write_parts(_by_need(files, list(grid.models)), facts, out, largest)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def stage_weights(source: str, target: Path) -> None:
    """A model's folder in half precision: half the bytes, and opened in fp32 like any other.

    A packaged model is checked against its pinned sha256 first; the halves have their own in the manifest.

    Raises:
        KitError: a weight is too large for half precision.
    """
    from poisonsieve.models.sources import resolve

    folder = resolve(source)
    target.mkdir(parents=True)
    for file in sorted(folder.iterdir()):
        if file.suffix == ".safetensors":
            _halve(file, target / file.name)
        elif file.is_file() and not file.name.startswith("."):
            shutil.copy(file, target / file.name)


def _halve(file: Path, target: Path) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    halves = {}
    with safe_open(file, framework="pt") as stream:
        for name in stream.keys():  # noqa: SIM118 - it is no mapping
            weights = stream.get_tensor(name)
            if weights.is_floating_point():
                if float(weights.abs().max()) > _LARGEST_HALF:
                    raise KitError(f"{file}: {name} holds numbers beyond half precision; carry another model")
                weights = weights.to(torch.float16)
            halves[name] = weights
        metadata = stream.metadata()
    save_file(halves, target, metadata=metadata)


def _stage_source(target: Path) -> None:
    """The package, the kit, and what `importlib.metadata` wants to know, so that nothing has to be built on the target."""
    for part in ("src/poisonsieve", "benchmarks/gpu"):
        shutil.copytree(PROJECT / part, target / part, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    info = target / "src" / f"poisonsieve-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: poisonsieve\nVersion: {version}\n", encoding="utf-8"
    )


def _stage_data(grid: TravellingGrid, root: Path | None, target: Path) -> None:
    """The grid's data files, each as Parquet with the columns that it has."""
    import pandas as pd

    target.mkdir(parents=True)
    if grid.data and root is None:
        raise KitError(f"the grid reads {DATA}/{grid.data[0]}: say where {DATA} is with --data-root")
    for name in grid.data:
        source, copy = Path(root or ".") / name, target / parquet_name(name)
        if not source.is_file():
            raise KitError(f"the grid reads {source}, which is not there")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".parquet":
            shutil.copy(source, copy)
        elif source.suffix in (".csv", ".tsv"):
            separator = "\t" if source.suffix == ".tsv" else ","
            pd.read_csv(source, sep=separator, keep_default_na=False).to_parquet(
                copy, index=False, compression="zstd"
            )
        else:
            rows = [json.loads(line) for line in source.read_text(encoding="utf-8").split("\n") if line.strip()]
            pd.DataFrame(rows).to_parquet(copy, index=False, compression="zstd")


def _stage_slices(grid: TravellingGrid, target: Path) -> dict[str, Path]:
    target.mkdir(parents=True)
    found = {}
    for name, content in grid.slices.items():
        found[name] = target / f"{name}.yaml"
        found[name].write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return found


def _assets(grid: TravellingGrid) -> list[Asset]:
    return list({asset.sha256: asset for word, asset in _ASSETS.items() if word in grid.text}.values())


def _stage_assets(grid: TravellingGrid) -> list[tuple[str, Path]]:
    """Packaged data sets and the parser, as they lie in the package's cache, where they are verified again when used."""
    found = []
    for asset in _assets(grid):
        folder = fetch(asset)
        for target in asset.targets:
            found.append((f"cache/assets/{folder.name}/{target}", folder / target))
    return found


def _in_order(staging: Path, models: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for top in ("source", "wheels", "grid", "data", *(f"weights/{name}" for name in models)):
        for path in sorted((staging / top).rglob("*")):
            if path.is_file():
                yield path.relative_to(staging).as_posix(), path


def _by_need(files: list[tuple[str, Path]], models: list[str]) -> list[tuple[str, Path]]:
    """What everything needs first, then the models in the order in which the grid uses them."""
    order = [f"weights/{name}/" for name in models]

    def place(path: str) -> int:
        return next((number for number, start in enumerate(order, 1) if path.startswith(start)), 0)

    return sorted(files, key=lambda entry: place(entry[0]))


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
