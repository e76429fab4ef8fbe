"""`poisonsieve rewrite`: rewrite the texts of a file as a rewriting defence would for a victim."""

from __future__ import annotations

import json as jsonlib
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poisonsieve.cli import command, inputs, options, outputs, printing
from poisonsieve.data.columns import Columns

if TYPE_CHECKING:
    from poisonsieve.data.inputs import InputRow


def rewrite(
    defense: Annotated[str, typer.Option(help="name or name:key=value,... of a rewriter, such as onion.")],
    source: Annotated[
        str, typer.Option("--input", help="JSONL, CSV, TSV, Parquet, a file of plain lines, or - for stdin.")
    ],
    out: Annotated[Path, typer.Option(help="JSONL file for the rewritten texts.")],
    set_: options.Set = None,
    fit: Annotated[
        str | None,
        typer.Option("--fit", help=f"Clean dev rows to fit the rewriter on. {options.DATA_HELP}"),
    ] = None,
    victim: Annotated[str | None, typer.Option(help="The model that will read the texts; required by --fit.")] = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    id_column: options.IdColumn = None,
    base: options.Base = None,
    seed: options.Seed = 0,
    allow_pickle: options.AllowPickle = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file --out.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Rewrite texts: write one JSON object per text, in order, with the rewritten `text` and the `original`.

    A row keeps its label, and its id if --id-column is given. If a row cannot be read, nothing is written.
    `poisonsieve list` names the rewriters.

    Example: poisonsieve rewrite --defense onion --input inbox.jsonl --fit dev.jsonl --victim victim/ --out read.jsonl
    """
    with command.running(waiting=not quiet) as processors:
        from poisonsieve.defenses.rewriter import Rewriter
        from poisonsieve.defenses.specs import make_defense, parse_defense
        from poisonsieve.errors import ConfigError
        from poisonsieve.storage import writing_file

        spec = parse_defense(defense, set_ or [], kind="rewriter")
        if (fit is None) != (victim is None):
            raise ConfigError(
                "--fit and --victim go together; give the rows to fit on and the model that reads the texts"
            )
        outputs.check_output_file("--out", out, [source, fit])
        _refuse_existing(out, force)
        columns = Columns(text=text_column, label=label_column, id=id_column)
        rows = _read(source, columns)
        command.share(processors, quiet=quiet)
        rewriter = make_defense(spec, seed=seed, allow_pickle=allow_pickle)
        assert isinstance(rewriter, Rewriter)  # noqa: S101 - parse_defense has checked the kind
        if fit is not None and victim is not None:
            from poisonsieve.data import labels_of
            from poisonsieve.models.load import load_classifier

            dev = inputs.load_for_model(
                fit, "dev", victim, columns=replace(columns, id=None), allow_pickle=allow_pickle, keep_head=True
            )
            classifier = load_classifier(victim, label_names=labels_of(dev), base=base, allow_pickle=allow_pickle)
            rewriter.fit(dev, victim=classifier, progress=not quiet)
        started = time.perf_counter()
        texts = rewriter.rewrite([str(row.text) for row in rows], progress=None if quiet else "rewriting")
        seconds = time.perf_counter() - started
        with writing_file(out) as stream:
            for row, text in zip(rows, texts, strict=True):
                print(jsonlib.dumps(_record(row, text), ensure_ascii=False), file=stream)
        changed = sum(text != row.text for row, text in zip(rows, texts, strict=True))
        if json:
            facts = {"defense": spec.name, **rewriter.facts()}
            printing.print_result(
                {"out": str(out), "n": len(rows), "changed": changed, "seconds": seconds, "facts": facts}
            )
        else:
            printing.note(f"{len(rows)} texts, {changed} changed by {spec.name}, written to {out}; {seconds:.1f} s")


def _refuse_existing(out: Path, force: bool) -> None:
    from poisonsieve.errors import ConfigError

    if out.is_file() and not force:  # a pipe or a terminal may be written to
        raise ConfigError(f"{out} already exists; choose another --out, or --force to replace it")


def _read(source: str, columns: Columns) -> list[InputRow]:
    """Read all rows before any is rewritten, so that a bad one is found at once."""
    from poisonsieve.data.inputs import read_inputs
    from poisonsieve.errors import DataError

    rows = list(read_inputs(source, columns))
    for row in rows:
        if row.text is None:
            raise DataError(str(row.error))
    return rows


def _record(row: InputRow, text: str) -> dict[str, Any]:
    label = {"label": row.label} if isinstance(row.label, str | int | float) else {}
    identity = {} if row.id is None else {"id": row.id}
    return {"text": text, "original": row.text, **label, **identity}
