"""`poisonsieve data`: fetch the data sets that experiments read, and write rows of any data set to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poisonsieve.cli import command, inputs, options, outputs, printing
from poisonsieve.data.columns import Columns

if TYPE_CHECKING:
    import datasets

    from poisonsieve.data.fetching import Fetched

data = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")


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


@data.command()
def export(
    source: Annotated[str, typer.Argument(metavar="DATA", help=options.DATA_HELP)],
    out: Annotated[Path, typer.Option(help="File for the rows, .jsonl or .csv.")],
    trigger: Annotated[
        str | None, typer.Option(help="Write the rows of other classes than --target, with this trigger in them.")
    ] = None,
    target: Annotated[str, typer.Option(help="The class the attacker wants, by number or name.")] = "0",
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    seed: options.Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    json: options.Json = False,
) -> None:
    """Write the rows of a data set, packaged ones for example, to a file with the columns `text` and `label`.

    Without a split, the train split. Labels are written by name where classes have names.

    Example: poisonsieve data export packaged:product-reviews#test --out inbox.jsonl
    """
    with command.running(waiting=not json):
        from poisonsieve.data.exporting import write_file
        from poisonsieve.errors import ConfigError

        outputs.check_output_file("--out", out, [source])
        if out.is_file() and not force:
            raise ConfigError(f"{out} already exists; choose another --out, or --force to replace it")
        rows = inputs.load_rows(source, "train", columns=Columns(text=text_column, label=label_column))
        if trigger is not None:
            rows = _with_trigger(rows, trigger, target, seed)
        write_file(rows, out)
        if json:
            printing.print_result({"out": str(out), "rows": len(rows)})
        else:
            printing.note(f"{len(rows):,} rows written to {out}")


def _with_trigger(rows: datasets.Dataset, trigger: str, target: str, seed: int) -> datasets.Dataset:
    """Return the rows of other classes with the trigger in them; those that it does not fit are counted in a note."""
    from poisonsieve.attacks import make_trigger, trigger_rows
    from poisonsieve.data import labels_of

    wanted = inputs.class_index(target, labels_of(rows))
    found = trigger_rows(rows, make_trigger(trigger), target=wanted, seed=seed)
    if found.not_applicable:
        printing.note(f"{found.not_applicable} rows left out: the trigger does not fit them")
    return found.rows


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
