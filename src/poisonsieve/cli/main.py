"""`poisonsieve`: the entry point. Exit codes are in `poisonsieve.cli.common`."""

from __future__ import annotations

import os

import typer

from poisonsieve.cli.demo import demo
from poisonsieve.cli.evaluate import evaluate
from poisonsieve.cli.fit import fit
from poisonsieve.cli.listing import list_
from poisonsieve.cli.poison import poison
from poisonsieve.cli.screen import screen
from poisonsieve.cli.tune import tune

_HELP = "Keep triggered inputs of a weight-poisoned text classifier out, without knowing the trigger."

app = typer.Typer(
    name="poisonsieve",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (fit, screen, evaluate, poison, tune, demo):
    app.command()(command)
app.command("list")(list_)


@app.callback(invoke_without_command=True, help=_HELP)
def options(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    """Options of the bare command."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"poisonsieve {installed('poisonsieve')}")
        raise typer.Exit


def run() -> None:
    """Run the command line and exit."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    app()
