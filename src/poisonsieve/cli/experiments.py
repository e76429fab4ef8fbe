"""Find an experiment's file, and check its data root before anything is trained.

Experiments that come with the package are given by name: ``table01`` and ``fig3`` are grids, ``cr-fdk`` is a
comparison.
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
_SHOWN = 4  # number of missing files that an error names
_FOLDERS: dict[Kind, Path] = {"grid": _CONFIGS, "comparison": _CONFIGS / "comparison"}


def shipped_names(kind: Kind) -> list[str]:
    """Return the names of the experiments that come with the package."""
    return sorted(path.stem for path in _FOLDERS[kind].glob("*.yaml"))


def find_config(given: Path, kind: Kind) -> Path:
    """Return the file of an experiment.

    Args:
        given: a file, or the name of an experiment that comes with the package; a file takes precedence.
        kind: kind of experiment.

    Raises:
        ConfigError: there is no such file and no such name.
    """
    if given.is_file():
        return given
    shipped = _FOLDERS[kind] / f"{given.name}.yaml"
    if given.parent != Path() or not shipped.is_file():
        raise ConfigError(
            f"{given} is neither a file nor the name of a {kind}; choose from: {', '.join(shipped_names(kind))}"
        )
    return shipped


class Rows(Protocol):
    """Names of the rows of a comparison or a grid."""

    @property
    def train(self) -> str:
        """Rows to train on."""

    @property
    def dev(self) -> str | None:
        """Rows for every choice."""

    @property
    def test(self) -> str | None:
        """Rows to evaluate on."""


def require_rows(rows: Iterable[Rows | None], root: Path | None) -> None:
    """Refuse a data root that does not exist, or that lacks rows of an experiment.

    Args:
        rows: rows that it reads, with the root in their names.
        root: the data root; None if none was given.

    Raises:
        ConfigError: something is missing; names it, and the command that fetches it if there is one.
    """
    if root is None:
        return
    missing = list(dict.fromkeys(_missing(rows, root.absolute())))
    if not missing:
        return
    sets = [name for name in SOURCES if any(path.parts[:1] == (name,) for path in missing)]
    fetch = f"; to fetch what is available: poisonsieve data fetch {' '.join(sets)} --out {root}" if sets else ""
    if not root.is_dir():
        raise ConfigError(f"--data-root {root}: no such folder{fetch}")
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    raise ConfigError(f"--data-root {root} lacks {', '.join(map(str, missing[:_SHOWN]))}{more}{fetch}")


def _missing(rows: Iterable[Rows | None], root: Path) -> Iterator[Path]:
    """Yield the names below the root that do not exist, relative to it."""
    for entry in rows:
        for name in (entry.train, entry.dev, entry.test) if entry else ():
            if name is None or name.startswith(("packaged:", "hub:")):
                continue
            path = Path(name.partition("#")[0]).absolute()
            if path.is_relative_to(root) and not path.exists():
                yield path.relative_to(root)
