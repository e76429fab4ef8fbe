"""`poisonsieve bench`: run a grid of experiments from one file, and show its results."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poisonsieve.cli import command, options, printing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poisonsieve.bench.entries import ThresholdEntry
    from poisonsieve.bench.runner import Engine
    from poisonsieve.bench.spec import GridSpec, RunOptions

bench = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

_Results = Annotated[
    Path, typer.Argument(metavar="RESULTS", help="A results.json, the folder of a grid, or the --out of `bench run`.")
]
_EXIT_FAILED = 1


@bench.command()
def run(
    config: Annotated[
        Path, typer.Argument(help="A packaged grid (core, table01 to table10, fig1, fig3, fig4), or a YAML file.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for models and results. Grids may share it.")],
    scale: Annotated[
        str | None,
        typer.Option(
            help="A section of the file's `scale`: paper, base, small, or packaged, which needs no data root. "
            "Default: paper."
        ),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder that replaces {data} in the file; required if the file has {data}.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Run only these cells, such as attack=BadNet; can be repeated.", metavar="AXIS=VALUE"),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed stages again.")] = False,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="Threshold rule for all detectors: gamma=0.7, frr=0.01 (a promise) or frr_mean=0.01. Stored scores are "
            "judged again.",
            metavar="RULE",
        ),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seeds to use instead of the file's.", min=0)] = None,
    engine: Annotated[
        str, typer.Option(help="local: one stage after the other on this machine; ray: on a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster; auto: the one on this machine. Default: a temporary one."),
    ] = None,
    num_processes: Annotated[
        int,
        typer.Option(help="Processes that train one model together, one GPU each (DDP, through accelerate).", min=1),
    ] = 1,
    accelerate_config: Annotated[
        Path | None, typer.Option(help="An `accelerate config` file for launching them, instead of plain DDP.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run a grid: weights, victims, guards and scores, each made once and kept. The same command resumes.

    If a cell fails, the rest still runs, and the exit code is 1.

    Example: poisonsieve bench run table01 --scale packaged --out grid/
    """
    with command.running(resumable=True, waiting=not quiet) as processors:
        from poisonsieve.bench.runner import run_grid
        from poisonsieve.bench.spec import load_grid
        from poisonsieve.cli.experiments import find_config, require_rows

        grid = load_grid(find_config(config, "grid"), scale=scale, data_root=data_root)
        require_rows([rows for entry in grid.datasets.values() for rows in (entry.data, entry.attacker)], data_root)
        if threshold is not None:
            models = {name: model.model_copy(update={"threshold": None}) for name, model in grid.models.items()}
            grid = grid.model_copy(update={"threshold": _rule(threshold), "models": models})
        if seed:
            grid = grid.model_copy(update={"seeds": list(seed)})
        told: list[str] = []

        def note(line: str) -> None:
            told.append(line)
            printing.note(line)

        name = config.stem if scale is None else f"{config.stem}-{scale}"
        if engine == "local":
            command.share(processors, quiet=quiet)
        record = run_grid(
            grid,
            name,
            out,
            only=_only(only or []),
            retry_failed=retry_failed,
            engine=_engine(engine, address, grid),
            options=_run_options(grid, not quiet, num_processes, accelerate_config),
            note=note,
        )
        _report(record, name, out, told, json=json)


def _report(record: dict[str, Any], name: str, out: Path, told: Sequence[str], *, json: bool) -> None:
    """Print the number of cells by state, where the results are, and why cells failed unless that was told in the run.

    Raises:
        typer.Exit: with code 1 if any cell failed.
    """
    from poisonsieve.bench.show.table import reasons

    cells = record["cells"]
    counts = {status: sum(cell["status"] == status for cell in cells) for status in ("done", "failed", "waiting")}
    place = out / "grids" / name / "results.json"
    if json:
        printing.print_result({"results": str(place), **counts, "cells": cells})
    else:
        printing.note(f"{', '.join(f'{count} {status}' for status, count in counts.items())}: {place}")
    for reason, count in reasons(record).items():
        if not any(line.endswith(reason) for line in told):
            printing.note(f"failed ({count} cell{'s' * (count > 1)}): {reason}")
    if counts["failed"]:
        raise typer.Exit(_EXIT_FAILED)


def _run_options(grid: GridSpec, progress: bool, processes: int, launch_config: Path | None) -> RunOptions:
    """Return the options for running stages.

    Raises:
        ConfigError: there is no such config file, or only one process to launch with it.
    """
    from poisonsieve.bench.spec import RunOptions
    from poisonsieve.errors import ConfigError

    if launch_config is not None and (processes == 1 or not launch_config.is_file()):
        raise ConfigError(
            f"--accelerate-config {launch_config}: give a file that exists, and --num-processes above 1"
        )
    config = None if launch_config is None else launch_config.absolute()
    return RunOptions(progress=progress, report_to=grid.report_to, processes=processes, launch_config=config)


def _engine(name: str, address: str | None, grid: GridSpec) -> Engine | None:
    """Return the requested engine; None for the default.

    Raises:
        ConfigError: there is no such engine, or an address is given without one that uses it.
    """
    from poisonsieve.errors import ConfigError

    if name == "ray":
        from poisonsieve.bench.cluster import RayEngine

        return RayEngine(grid.resources, address)
    if name != "local":
        raise ConfigError(f"--engine {name}: there is no such engine; choose from: local, ray")
    if address is not None:
        raise ConfigError("--address names a Ray cluster; give --engine ray too")
    return None


def _only(given: list[str]) -> dict[str, list[str]]:
    """Return `--only` options by axis."""
    from poisonsieve.errors import ConfigError

    found: dict[str, list[str]] = {}
    for text in given:
        axis, equals, value = text.partition("=")
        if not equals or not value:
            raise ConfigError(f"--only {text!r} is not AXIS=VALUE; example: --only attack=BadNet")
        found.setdefault(axis.strip(), []).append(value)
    return found


def _rule(text: str) -> ThresholdEntry:
    from poisonsieve.bench.entries import ThresholdEntry
    from poisonsieve.config import make_spec
    from poisonsieve.errors import ConfigError
    from poisonsieve.thresholds import RULES

    key, equals, value = text.partition("=")
    if not equals or key not in RULES:
        raise ConfigError(f"--threshold {text!r} is none of gamma=NUMBER, frr=NUMBER and frr_mean=NUMBER")
    return make_spec(ThresholdEntry, **{key: value})


@bench.command()
def table(
    results: _Results,
    compare: Annotated[
        bool, typer.Option("--compare", help="Add the paper's value and the difference to each.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a GitHub table.")] = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print one line per cell, with intervals and the paper's values.")
    ] = False,
    latex: Annotated[
        bool, typer.Option("--latex", help="Print LaTeX in the paper's layout, for booktabs and multirow.")
    ] = False,
    goal: Annotated[
        bool,
        typer.Option("--goal", help="Show the share of effective attacks that each defence stops at no cost."),
    ] = False,
    wide: Annotated[
        bool,
        typer.Option(
            "--wide", help="Print all victims side by side, however wide, and the rows that have not been run."
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="File to write. Default: stdout.")] = None,
    json: options.Json = False,
) -> None:
    """Show results in the paper's table layout: CA and ASR for every victim, one row per defence.

    A terminal gets as many victims side by side as it has room for, the others below, and no rows that have not been run.

    Example: poisonsieve bench table grid/grids/table01-packaged --compare --markdown
    """
    with command.running():
        from poisonsieve.bench.results import read_results
        from poisonsieve.bench.show.rendering import to_csv, to_latex, to_markdown
        from poisonsieve.bench.show.table import failures, make_table
        from poisonsieve.cli.grid_tables import print_grid_table
        from poisonsieve.errors import ConfigError
        from poisonsieve.storage import writing_file

        if markdown + csv + latex + json > 1:
            raise ConfigError("--markdown, --csv, --latex and --json exclude each other; give one of them")
        if goal and (compare or csv or latex):
            raise ConfigError(
                "--goal is a table of its own, as Markdown or --json; remove --compare, --csv and --latex"
            )
        records = read_results(results)
        if goal:
            _show_goal(records, out, as_json=json)
            return
        tables = [make_table(record) for record in records]
        if not (markdown or csv or latex or json) and out is None:
            for made in tables:
                print_grid_table(made, compare=compare, wide=wide)
        elif json:
            printing.print_result({"tables": [asdict(made) for made in tables]})
        else:
            render = to_csv if csv else partial(to_latex if latex else to_markdown, compare=compare)
            text = "\n".join(render(made) for made in tables)
            if out is None:
                printing.print_line(text.rstrip("\n"))
            else:
                with writing_file(out) as stream:
                    stream.write(text)
        for record in records:
            for line in failures(record):
                printing.note(f"failed: {line}")


@bench.command()
def figure(
    results: _Results,
    out: Annotated[Path, typer.Option(help="Image file to write: .svg, .png or .pdf.")],
    json: options.Json = False,
) -> None:
    """Draw the figure of a grid's results: panels of a sweep (Figures 3, 4), or tunings side by side (Figure 1).

    Example: poisonsieve bench figure grid/grids/fig3-packaged --out figure3.svg
    """
    with command.running():
        from poisonsieve.bench.results import read_results
        from poisonsieve.bench.show.drawing import draw
        from poisonsieve.errors import ConfigError
        from poisonsieve.storage import reporting_write_errors

        records = read_results(results)
        if len(records) > 1:
            raise ConfigError(
                f"{results} has the results of {len(records)} grids; give one of the folders under grids/"
            )
        if out.suffix.lower() not in (".svg", ".png", ".pdf"):
            raise ConfigError(f"--out {out}: give a name that ends in .svg, .png or .pdf")
        drawing = draw(records[0])
        with reporting_write_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            drawing.savefig(out, dpi=200)
        if json:
            printing.print_result({"out": str(out), "title": records[0]["title"]})
        else:
            printing.note(f"written: {out}")


@bench.command()
def report(
    results: _Results,
    out: Annotated[Path, typer.Option(help="Self-contained HTML file to write.")],
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "What was published, and what was measured",
    json: options.Json = False,
) -> None:
    """Write one HTML file with all tables, figures, settings and versions.

    Example: poisonsieve bench report grid/ --out report.html
    """
    with command.running():
        from poisonsieve.bench.results import read_results
        from poisonsieve.bench.show.report import write_grid_report

        records = read_results(results)
        write_grid_report(out, records, title)
        if json:
            printing.print_result({"out": str(out), "grids": [record["title"] for record in records]})
        else:
            printing.note(f"written: {out}")


def _show_goal(records: Sequence[dict[str, Any]], out: Path | None, *, as_json: bool) -> None:
    from poisonsieve.storage import writing_file
    from poisonsieve.yardstick.goal import goal_of
    from poisonsieve.yardstick.table import goal_markdown

    found = goal_of(records)
    if as_json:
        printing.print_result(found.to_dict())
    elif out is None:
        printing.print_line(goal_markdown(found).rstrip("\n"))
    else:
        with writing_file(out) as stream:
            stream.write(goal_markdown(found))
