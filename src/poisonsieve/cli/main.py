"""`poisonsieve`: the entry point. Exit codes are in `poisonsieve.cli.command`."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
import typer.core

from poisonsieve.cli.audit import audit
from poisonsieve.cli.bench import bench
from poisonsieve.cli.command import EXIT_USAGE
from poisonsieve.cli.compare import compare
from poisonsieve.cli.data import data
from poisonsieve.cli.demo import demo
from poisonsieve.cli.evaluate import evaluate
from poisonsieve.cli.fit import fit
from poisonsieve.cli.listing import list_
from poisonsieve.cli.poison import poison
from poisonsieve.cli.printing import one_line
from poisonsieve.cli.recalibrate import recalibrate
from poisonsieve.cli.repair import repair
from poisonsieve.cli.rewrite import rewrite
from poisonsieve.cli.screen import screen
from poisonsieve.cli.serve import serve
from poisonsieve.cli.tune import tune
from poisonsieve.processors import wait_without_spinning

_SUMMARY = "Reject triggered inputs to a weight-poisoned text classifier, without knowing the trigger."


class OneLineErrors(typer.core.TyperGroup):
    """Reports wrong usage in one line, like all other errors, instead of in a box."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line, and exit with its code."""
        standalone = extra.pop("standalone_mode", True)
        extra = {"prog_name": "poisonsieve", **extra, "standalone_mode": False}
        if not standalone:
            return super().main(*args, **extra)
        try:
            code = super().main(*args, **extra)
        except Exception as error:
            # Usage errors come from click, or from the copy of click that newer versions of Typer include.
            if not hasattr(error, "format_message"):
                raise
            context = getattr(error, "ctx", None)
            path = context.command_path if context else "poisonsieve"
            typer.echo(one_line(f"{error.format_message().rstrip('.')}; see {path} --help"), err=True)
            sys.exit(EXIT_USAGE)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    name="poisonsieve",
    cls=OneLineErrors,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (audit, fit, screen, serve, recalibrate, rewrite, repair, evaluate, poison, tune, compare, demo):
    app.command()(command)
app.command("list")(list_)
app.add_typer(data, name="data", help="Fetch the data sets that experiments read.")
app.add_typer(bench, name="bench", help="Run a grid of experiments from one file, and show its results.")


@app.callback(invoke_without_command=True, help=_SUMMARY)
def options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    """Handle the options of the bare command."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"poisonsieve {installed('poisonsieve')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run() -> None:
    """Run the command line and exit. Here, before torch is imported, is what a process sets for itself."""
    wait_without_spinning()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    app()
