"""`poisonsieve compare`: compare defences against attacks on one data set, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poisonsieve.cli import command, options, printing
from poisonsieve.cli.tables import table_of

if TYPE_CHECKING:
    from poisonsieve.bench.show.table import ComparisonTable


def compare(
    config: Annotated[Path, typer.Argument(help="A comparison that ships, such as cr-fdk, or a file (YAML).")],
    out: Annotated[Path, typer.Option(help="Folder for models, cells and the table. A repeated run resumes in it.")],
    scale: Annotated[
        str | None, typer.Option(help="A section of the file's `scale`. packaged: small, and no data root is needed.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder that replaces {data} in the file; required if the file has {data}.")
    ] = None,
    attack: Annotated[list[str] | None, typer.Option(help="Run only this attack; can be repeated.")] = None,
    defense: Annotated[list[str] | None, typer.Option(help="Run only this defence; can be repeated.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seeds to use instead of the file's.", min=0)] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure every defence against every attack: CA, ASR, AUROC and seconds per 1,000 texts.

    The command trains everything: the poisoned weights, the victim tuned from them, and the defences. Finished work is
    kept, and the same command resumes. If a cell fails, the rest still runs, and the exit code is 1.

    Example: poisonsieve compare cr-fdk --scale packaged --out comparison/
    """
    with command.running(resumable=True, waiting=not quiet) as processors:
        from poisonsieve.bench.comparison import load_comparison, run_comparison
        from poisonsieve.bench.show.rendering import markdown_table
        from poisonsieve.bench.show.table import cell_failures, make_comparison_table
        from poisonsieve.cli.experiments import find_config, require_rows
        from poisonsieve.environment import environment
        from poisonsieve.storage import write_json, writing_file

        spec = load_comparison(find_config(config, "comparison"), data_root, scale=scale)
        require_rows([spec.data, spec.attacker], data_root)
        if seed:
            spec = spec.model_copy(update={"seeds": list(seed)})

        def report(cell: dict[str, Any]) -> None:
            if not quiet:
                printing.note(_line(cell))

        command.share(processors, quiet=quiet)
        cells = run_comparison(
            spec, out, attacks=attack or (), defenses=defense or (), progress=not quiet, report=report
        )
        table = make_comparison_table(cells)
        record = {
            "comparison": spec.model_dump(mode="json"),
            "environment": environment(),
            "cells": cells,
        }
        write_json(out / "comparison.json", record)
        with writing_file(out / "comparison.md") as stream:
            stream.write(f"# {spec.title}\n\n{markdown_table(table.heads, table.rows, 1)}")
        if json:
            printing.print_result(record)
        else:
            _print(table, spec.title)
        failed = cell_failures(cells)
        for line in failed:
            printing.note(f"failed: {line}")
        if failed:
            raise typer.Exit(1)


def _line(cell: dict[str, object]) -> str:
    what = f"{cell['attack']} / {cell['defense']} / seed {cell['seed']}"
    if "error" in cell:
        return f"{what}: failed"  # why is said once, at the end
    auroc = f", AUROC {cell['auroc']:.3f}" if "auroc" in cell else ""
    return f"{what}: CA {printing.percent(float(str(cell['ca'])))}, ASR {printing.percent(float(str(cell['asr'])))}{auroc}"


def _print(table: ComparisonTable, title: str) -> None:
    of_attacks = [head for attack in table.attacks for head in (f"{attack}\nCA", "\nASR", "\nAUROC")]
    shown = table_of(["defence", *of_attacks, "s / 1,000\ntexts"], table.rows, title=title)
    with printing.stdout() as stream:
        printing.console(stream).print(shown)
