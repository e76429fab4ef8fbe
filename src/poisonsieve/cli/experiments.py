"""What commands take as an experiment, and the data root it needs, looked at before anything is trained.

Those that come with the package go by name: ``table01`` and ``fig3`` are grids, ``cr-fdk`` is a comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Literal, Protocol

from poisonsieve.data.fetching import SOURCES
from poisonsieve.errors import ConfigError

Kind = Literal["grid", "comparison"]
_CONFIGS = Path(str(files("poisonsieve.bench"))) / "configs"
_SHOWN = 4  # missing files that an error names
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


class Rows(Protocol):
    """Rows of a comparison or a grid, by the names of their data."""

    @property
    def train(self) -> str:
        """To train on."""

    @property
    def dev(self) -> str | None:
        """For every choice."""

    @property
    def test(self) -> str | None:
        """What is counted on."""


def require_rows(rows: Iterable[Rows | None], root: Path | None) -> None:
    """Refuse a data root that is not there, or that lacks rows which an experiment reads.

    Args:
        rows: what it reads, with the root in the names.
        root: None where there is none.

    Raises:
        ConfigError: says what is missing, and the command that fetches it where one does.
    """
    if root is None:
        return
    missing = list(dict.fromkeys(_missing(rows, root.absolute())))
    if not missing:
        return
    sets = [name for name in SOURCES if any(path.parts[:1] == (name,) for path in missing)]
    fetch = f"; to fetch what can be had: poisonsieve data fetch {' '.join(sets)} --out {root}" if sets else ""
    if not root.is_dir():
        raise ConfigError(f"--data-root {root}: no such folder{fetch}")
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    raise ConfigError(f"--data-root {root} lacks {', '.join(map(str, missing[:_SHOWN]))}{more}{fetch}")


def _missing(rows: Iterable[Rows | None], root: Path) -> Iterator[Path]:
    """Names below the root under which there is nothing, without the root."""
    for entry in rows:
        for name in (entry.train, entry.dev, entry.test) if entry else ():
            if name is None or name.startswith(("packaged:", "hub:")):
                continue
            path = Path(name.partition("#")[0]).absolute()
            if path.is_relative_to(root) and not path.exists():
                yield path.relative_to(root)
