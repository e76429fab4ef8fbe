"""`poisonsieve bench`: a paper's whole experiment from one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poisonsieve.cli import common

if TYPE_CHECKING:
    from poisonsieve.bench.grid.spec import ThresholdEntry

bench = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

_Results = Annotated[
    Path, typer.Argument(metavar="RESULTS", help="A results.json, the folder of a grid, or the --out of `bench run`.")
]
_EXIT_FAILED = 1


@bench.command()
def run(
    config: Annotated[Path, typer.Argument(help="Grid file (YAML); see configs/.")],
    out: Annotated[Path, typer.Option(help="Folder for everything that is made. Grids may share it.")],
    scale: Annotated[
        str | None, typer.Option(help="A section of the file's `scale`: paper, base, small. Default: paper.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="What {data} stands for in the file. Default: nothing, and none may be in it.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Only these cells: AXIS=VALUE, such as attack=BadNet; can be given again.", metavar="AXIS=VALUE"
        ),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")] = False,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="Another threshold for all detectors: gamma=0.7 or frr=0.01. What was scored is judged again.",
            metavar="RULE",
        ),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="These seeds instead of the file's.", min=0)] = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Run a grid: weights, victims, guards and scores, each made once and kept. The same command goes on.

    A cell that fails says why, and the rest goes on; the exit code is then 1.

    Example: poisonsieve bench run configs/table01.yaml --scale small --data-root DATA --out grid/
    """
    with common.running(resumable=True):
        from poisonsieve.bench.grid.runner import run_grid
        from poisonsieve.bench.grid.spec import load_grid

        grid = load_grid(config, scale=scale, data_root=data_root)
        if threshold is not None:
            models = {name: model.model_copy(update={"threshold": None}) for name, model in grid.models.items()}
            grid = grid.model_copy(update={"threshold": _rule(threshold), "models": models})
        if seed:
            grid = grid.model_copy(update={"seeds": list(seed)})
        name = config.stem if scale is None else f"{config.stem}-{scale}"
        record = run_grid(
            grid, name, out, only=_only(only or []), retry_failed=retry_failed, progress=not quiet, note=common.note
        )
        _report(record, name, out, json=json)


def _report(record: dict[str, Any], name: str, out: Path, *, json: bool) -> None:
    """How the cells stand, and where to look; the exit code says whether any failed."""
    cells = record["cells"]
    counts = {status: sum(cell["status"] == status for cell in cells) for status in ("done", "failed", "waiting")}
    place = out / "grids" / name / "results.json"
    if json:
        common.print_result({"results": str(place), **counts, "cells": cells})
    else:
        common.note(f"{', '.join(f'{count} {status}' for status, count in counts.items())}: {place}")
    for error in dict.fromkeys(cell["error"] for cell in cells if cell["status"] == "failed"):
        alike = sum(cell.get("error") == error for cell in cells)
        common.note(f"failed ({alike} cell{'s' * (alike > 1)}): {error}")
    if counts["failed"]:
        raise typer.Exit(_EXIT_FAILED)


def _only(given: list[str]) -> dict[str, list[str]]:
    """`--only` options by axis."""
    from poisonsieve.errors import ConfigError

    found: dict[str, list[str]] = {}
    for text in given:
        axis, equals, value = text.partition("=")
        if not equals or not value:
            raise ConfigError(f"--only {text!r} is not AXIS=VALUE; example: --only attack=BadNet")
        found.setdefault(axis.strip(), []).append(value)
    return found


def _rule(text: str) -> ThresholdEntry:
    from poisonsieve.bench.grid.spec import ThresholdEntry
    from poisonsieve.config import make_spec
    from poisonsieve.errors import ConfigError

    key, equals, value = text.partition("=")
    if not equals or key not in ("gamma", "frr"):
        raise ConfigError(f"--threshold {text!r} is neither gamma=NUMBER nor frr=NUMBER")
    return make_spec(ThresholdEntry, **{key: value})
