"""`poisonsieve data`: fetch the data sets that experiments read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poisonsieve.cli import command, options, printing

if TYPE_CHECKING:
    from poisonsieve.data.fetching import Fetched

data = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")


@data.callback()
def _commands() -> None:
    """Keep `fetch` a subcommand: with a single command, Typer would run it as `data` itself."""


@data.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="sst2, cr, mr, imdb, ag_news.")],
    out: Annotated[
        Path, typer.Option(help="Data root; NAME/train.jsonl and so on are written below it.", metavar="DATA")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace files that were not fetched.")] = False,
    json: options.Json = False,
) -> None:
    """Fetch data sets from the hub into the layout that experiments read; see --data-root of `compare` and `bench`.

    Existing files are checked and kept. Rewrites made elsewhere (NAME/rewrites/, NAME/synattack/) cannot be fetched.
    Packaged data (`poisonsieve list`) need no hub.

    Example: poisonsieve data fetch sst2 imdb --out DATA
    """
    with command.running(resumable=True):
        from poisonsieve.data.fetching import SOURCES, fetch_set
        from poisonsieve.errors import ConfigError

        unknown = [name for name in names if name not in SOURCES]
        if unknown:
            raise ConfigError(f"there is no data set {unknown[0]} to fetch; choose from: {', '.join(SOURCES)}")
        results = []
        for name in dict.fromkeys(names):
            printing.note(f"{name}: hub:{SOURCES[name].id}")
            fetched, reused = fetch_set(name, out, force=force)
            results.append({**fetched.model_dump(), "out": str(out / name), "reused": reused})
            if not json:
                _print(fetched, out / name, reused=reused)
        if json:
            printing.print_result({"datasets": results})


def _print(fetched: Fetched, folder: Path, *, reused: bool) -> None:
    printing.print_facts(
        fetched.name,
        {
            "from": f"hub:{fetched.id}, revision {fetched.revision or 'unknown: the hub did not answer'}",
            "licence": fetched.licence or "the hub states none: ask the authors before you share the data",
            "rows": ", ".join(f"{split} {count:,}" for split, count in fetched.rows.items()),
            "written to": f"{folder}{' (was already there)' if reused else ''}",
        },
    )
