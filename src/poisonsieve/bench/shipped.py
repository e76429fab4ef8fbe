"""The experiments that come with the package, by name: ``table01`` and ``fig3`` are grids, ``cr-fdk`` is a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from poisonsieve.errors import ConfigError

Kind = Literal["grid", "comparison"]
_CONFIGS = Path(__file__).parent / "configs"
_FOLDERS: dict[Kind, Path] = {"grid": _CONFIGS, "comparison": _CONFIGS / "comparison"}


def shipped_names(kind: Kind) -> list[str]:
    """What there is."""
    return sorted(path.stem for path in _FOLDERS[kind].glob("*.yaml"))


def find_config(given: Path, kind: Kind) -> Path:
    """The file of an experiment.

    Args:
        given: a file, or the name of one that comes with the package; a file wins.
        kind: which of them.

    Raises:
        ConfigError: there is no such file and no such name.
    """
    if given.is_file():
        return given
    shipped = _FOLDERS[kind] / f"{given.name}.yaml"
    if given.parent != Path() or not shipped.is_file():
        raise ConfigError(
            f"{given} is no file, and no {kind} is called so; there are: {', '.join(shipped_names(kind))}"
        )
    return shipped
