"""`poisonsieve screen`: give a verdict on every text of a file."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poisonsieve.cli import command, options, outputs, printing
from poisonsieve.data.columns import Columns

if TYPE_CHECKING:
    from poisonsieve.data.inputs import InputRow
    from poisonsieve.guard import GuardedClassifier
    from poisonsieve.records import Record

_GROUPS = 3  # number of groups printed; --json has all
_MANY = 10  # number of rejected texts from which it is worth reporting that they have nothing in common


def screen(
    guard: Annotated[Path, typer.Argument(help="Guard folder, from `poisonsieve fit`.")],
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="JSONL, CSV, TSV, Parquet, a file of plain lines, or - for stdin.")
    ],
    victim: Annotated[
        str | None, typer.Option(help="Model to classify texts that pass. It never reads rejected texts.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File for the records. Default: stdout.")] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="jsonl, csv, parquet, or sarif (rejected inputs only). Default: by the suffix of --out, else jsonl.",
        ),
    ] = None,
    together: Annotated[
        bool,
        typer.Option(
            "--together",
            help="Also compare all texts together with the guard's calibration rows, and reject those of a campaign.",
        ),
    ] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 if any text was rejected.")] = False,
    frr: options.OtherFrr = None,
    frr_mean: options.OtherFrrMean = None,
    gamma: options.OtherGamma = None,
    reject_truncated: options.RejectTruncated = False,
    no_text: Annotated[bool, typer.Option("--no-text", help="Leave the texts out of the records.")] = False,
    text_column: options.TextColumn = None,
    id_column: options.IdColumn = None,
    base: options.Base = None,
    seed: options.Seed = 0,
    allow_pickle: options.AllowPickle = False,
    backend: options.Backend = "torch",
    engine: Annotated[str, typer.Option(help="local, or ray: with Ray Data, for a folder of any size.")] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster; auto: the one on this machine. Default: a temporary one."),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Copies of guard and victim on the cluster, with --engine ray.", min=1)
    ] = 1,
    gpus: Annotated[float, typer.Option(help="GPUs, or a fraction of one, for each worker.", min=0)] = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Screen texts: write one record per input, in order.

    Inputs that cannot be read or scored are rejected, with the reason. The summary names the words that rejected texts
    have in common and others lack, unless --no-text is given. With --together the whole input is held in memory and
    tested as one: many texts with one trigger give each other away where a single one does not. No verdict gets milder.
    Screening is deterministic, so --seed has no effect. With
    --engine ray, INPUT may be a folder of JSONL and Parquet files larger than memory, and --out is a folder of Parquet
    files.

    Example: poisonsieve screen guard/ inbox.jsonl --victim victim/ --out verdicts.jsonl --exit-code
    """
    del seed
    columns = Columns(text=text_column, id=id_column)
    with command.running(waiting=not quiet) as processors:
        from poisonsieve.errors import ConfigError
        from poisonsieve.thresholds import rule_of

        rule = rule_of(frr=frr, frr_mean=frr_mean, gamma=gamma)
        opening: dict[str, Any] = {
            "base": base,
            "allow_pickle": allow_pickle,
            "backend": backend,
            "reject_truncated": reject_truncated,
        }
        collected: list[dict[str, Any]] | None = [] if json and out is None else None
        if engine == "local":
            keeping = {"with_text": not no_text, "with_id": id_column is not None}
            writing = _output(format_, out, source, collected, **keeping)
            rows = _rows(source, columns)
            from poisonsieve.guard import GuardedClassifier

            command.share(processors, quiet=quiet)
            guarded = GuardedClassifier.from_pretrained(guard, victim, **opening)
            if rule:
                guarded.guard.set_threshold(**rule)
            summary = _screen(guarded, rows, writing, together=together, with_text=not no_text, progress=not quiet)
        elif engine == "ray":
            from poisonsieve.guard.bulk import screen_folder

            _refuse_together(together)
            summary = screen_folder(
                source,
                guard,
                victim,
                _folder(format_, out),
                {**opening, **rule},
                address=address,
                workers=workers,
                gpus=gpus,
                columns=columns,
                with_text=not no_text,
                progress=not quiet,
            )
        else:
            raise ConfigError("--engine must be local or ray")
        if json:
            printing.print_result({**summary, **({"out": str(out)} if out else {"records": collected})})
        else:
            _note(summary, quiet=quiet)
    if exit_code and summary["rejected"]:
        raise typer.Exit(command.EXIT_FOUND)


def _rows(source: str, columns: Columns) -> Iterator[InputRow]:
    """Read the input, and fail on a file without texts before the models are opened."""
    from poisonsieve.data.inputs import read_inputs

    rows = read_inputs(source, columns)
    return rows if source == "-" else itertools.chain(list(itertools.islice(rows, 1)), rows)


def _screen(
    guarded: GuardedClassifier,
    rows: Iterator[InputRow],
    writing: AbstractContextManager[Callable[[Record], None]],
    *,
    together: bool,
    with_text: bool,
    progress: bool,
) -> dict[str, Any]:
    """Judge the rows, write their records, and return the summary."""
    from poisonsieve.guard.common_ground import Comparison
    from poisonsieve.guard.screening import screened, screened_together
    from poisonsieve.verdict import Tally

    tally, comparison, traffic = Tally(), Comparison(), None
    started = time.perf_counter()
    with writing as put:
        records: Iterable[Record] = screened(guarded, rows, progress=progress)
        if together:
            records, traffic = screened_together(guarded, rows, progress=progress)
        for record in records:
            put(record)
            tally.add([record.verdict])
            if with_text:
                comparison.add(record.text, record.verdict.outcome)
    seconds = time.perf_counter() - started
    threshold = guarded.guard.threshold_
    return {
        **{**tally.to_dict(), "gamma": threshold.gamma, "promised": threshold.promise, "seconds": seconds},
        "in_common": [group.to_dict() for group in comparison.groups()] if with_text else None,
        **({} if traffic is None else {"traffic": traffic.to_dict(guarded.guard.label_names)}),
    }


def _output(
    asked: str | None,
    out: Path | None,
    source: str,
    collected: list[dict[str, Any]] | None,
    *,
    with_text: bool,
    with_id: bool,
) -> AbstractContextManager[Callable[[Record], None]]:
    """Return a writer of records, to a file, to stdout, or into `collected` for the one JSON object on stdout.

    Raises:
        ConfigError, OutputError: the format cannot be written there, or the file cannot be written.
    """
    from poisonsieve.errors import ConfigError
    from poisonsieve.records import chosen_format, writing_records

    kind = chosen_format(asked, out)
    if out is not None:
        outputs.check_output_file("--out", out, [source])
    if collected is not None:
        if kind != "jsonl":
            raise ConfigError(f"--json prints one JSON object on stdout; give --out for the {kind}")
        return nullcontext(lambda record: collected.append(record.to_dict(with_text=with_text, with_id=with_id)))
    return writing_records(kind, out, source=source, with_text=with_text, stdout=printing.print_text, with_id=with_id)


def _refuse_together(together: bool) -> None:
    """Refuse to compare texts that are spread over a cluster.

    Raises:
        ConfigError: `together` is on.
    """
    from poisonsieve.errors import ConfigError

    if together:
        raise ConfigError("--together compares texts on one machine; leave --engine ray out, or give a part of them")


def _folder(asked: str | None, out: Path | None) -> Path:
    """Return the folder for Parquet files, of which each worker of a cluster writes its share.

    Raises:
        ConfigError: none is given; another format is, or is implied by the folder's name; or the name implies
            compression.
    """
    from poisonsieve.errors import ConfigError
    from poisonsieve.records import format_by_ending, require_plain

    require_plain(out)
    wanted = asked or (format_by_ending(out) if out else None) or "parquet"
    if wanted != "parquet":
        raise ConfigError(f"--engine ray writes a folder of Parquet, not {wanted}; choose another --format or --out")
    if out is None:
        raise ConfigError("--engine ray writes a folder of Parquet files; give --out")
    return out


def _note(summary: dict[str, Any], *, quiet: bool) -> None:
    """Say what came out, the rate that the guard promises, and what the rejected texts have in common."""
    printing.note(
        f"{summary['n']} texts: {summary['passed']} passed, {summary['poisoned']} rejected as poisoned, "
        f"{summary['not_scored']} rejected unscored, "
        f"{summary['truncated']} too long to be read to their end; {summary['seconds']:.1f} s"
    )
    if not quiet:
        printing.note(f"The guard promises {summary['promised']}.")
    if "traffic" in summary:
        printing.note(summary["traffic"]["says"])
    groups = summary["in_common"]
    for group in (groups or [])[:_GROUPS]:
        printing.note(group["says"])
    if groups == [] and summary["poisoned"] >= _MANY:
        printing.note(
            "The rejected texts have no word, phrase or opening in common that sets them apart from those that passed."
        )
