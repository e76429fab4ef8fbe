"""`poisonsieve screen`: give a verdict on every text of a file."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poisonsieve.cli import common, outputs
from poisonsieve.data.columns import Columns

if TYPE_CHECKING:
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
    frr: common.OtherFrr = None,
    frr_mean: common.OtherFrrMean = None,
    gamma: common.OtherGamma = None,
    no_text: Annotated[bool, typer.Option("--no-text", help="Leave the texts out of the records.")] = False,
    text_column: common.TextColumn = None,
    id_column: common.IdColumn = None,
    base: common.Base = None,
    seed: common.Seed = 0,
    allow_pickle: common.AllowPickle = False,
    engine: Annotated[str, typer.Option(help="local, or ray: with Ray Data, for a folder of any size.")] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster; auto: the one on this machine. Default: a temporary one."),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Copies of guard and victim on the cluster, with --engine ray.", min=1)
    ] = 1,
    gpus: Annotated[float, typer.Option(help="GPUs, or a fraction of one, for each worker.", min=0)] = 0,
    json: common.Json = False,
    quiet: common.Quiet = False,
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
    with_id = id_column is not None
    with common.running() as processors:
        from poisonsieve.thresholds import rule_of

        rule = rule_of(frr=frr, frr_mean=frr_mean, gamma=gamma)
        if engine != "local":
            _refuse_together(together)
            _refuse_formats(format_, out)
            options = {"base": base, "allow_pickle": allow_pickle, **rule}
            spread = {"engine": engine, "address": address, "workers": workers, "gpus": gpus}
            summary = _bulk(
                source, guard, victim, out, options, spread, columns, with_text=not no_text, json=json, quiet=quiet
            )
            if exit_code and summary["rejected"]:
                raise typer.Exit(common.EXIT_FOUND)
            return
        from poisonsieve.data.inputs import read_inputs
        from poisonsieve.guard import GuardedClassifier
        from poisonsieve.guard.common_ground import Comparison
        from poisonsieve.guard.screening import screened, screened_together
        from poisonsieve.verdict import Tally

        writing = _output(format_, out, source, with_text=not no_text, with_id=with_id, json=json)
        rows = read_inputs(source, columns)
        if source != "-":
            rows = itertools.chain(
                list(itertools.islice(rows, 1)), rows
            )  # fail on a file without texts before the models are opened
        common.share(processors, quiet=quiet)
        guarded = GuardedClassifier.from_pretrained(guard, victim, base=base, allow_pickle=allow_pickle)
        if rule:
            guarded.guard.set_threshold(**rule)
        tally, comparison = Tally(), None if no_text else Comparison()
        collected: list[dict[str, Any]] = []
        started, traffic = time.perf_counter(), None
        with contextlib.ExitStack() as stack:
            put = stack.enter_context(writing) if writing else None
            records: Iterable[Record] = screened(guarded, rows, progress=not quiet)
            if together:
                records, traffic = screened_together(guarded, rows, progress=not quiet)
            for record in records:
                if put:
                    put(record)
                else:
                    collected.append(record.to_dict(with_text=not no_text, with_id=with_id))
                tally.add([record.verdict])
                if comparison:
                    comparison.add(record.text, record.verdict.outcome)
        seconds = time.perf_counter() - started
        groups = comparison.groups() if comparison else None
        threshold = guarded.guard.threshold_
        summary = {
            **{**tally.to_dict(), "gamma": threshold.gamma, "promised": threshold.promise, "seconds": seconds},
            "in_common": None if groups is None else [group.to_dict() for group in groups],
            **({} if traffic is None else {"traffic": traffic.to_dict(guarded.guard.label_names)}),
        }
        if json:
            common.print_result({**summary, **({"out": str(out)} if out else {"records": collected})})
        else:
            _note(summary, quiet=quiet)
    if exit_code and summary["rejected"]:
        raise typer.Exit(common.EXIT_FOUND)


def _output(
    asked: str | None, out: Path | None, source: str, *, with_text: bool, with_id: bool, json: bool
) -> contextlib.AbstractContextManager[Callable[[Record], None]] | None:
    """Return a writer for records; None if they go into the one JSON object on stdout.

    Raises:
        ConfigError, OutputError: the format cannot be written there, or the file cannot be written.
    """
    from poisonsieve.errors import ConfigError
    from poisonsieve.records import chosen_format, writing_records

    kind = chosen_format(asked, out)
    if out is not None:
        outputs.check_output_file("--out", out, [source])
    elif json:
        if kind != "jsonl":
            raise ConfigError(f"--json prints one JSON object on stdout; give --out for the {kind}")
        return None
    return writing_records(kind, out, source=source, with_text=with_text, stdout=common.print_text, with_id=with_id)


def _refuse_together(together: bool) -> None:
    """Refuse to compare texts that are spread over a cluster.

    Raises:
        ConfigError: `together` is on.
    """
    from poisonsieve.errors import ConfigError

    if together:
        raise ConfigError("--together compares texts on one machine; leave --engine ray out, or give a part of them")


def _refuse_formats(asked: str | None, out: Path | None) -> None:
    """Refuse formats other than Parquet, which each worker of a cluster writes for its share.

    Raises:
        ConfigError: another format is given, or implied by the folder's name; or the name implies compression.
    """
    from poisonsieve.errors import ConfigError
    from poisonsieve.records import format_by_ending, require_plain

    require_plain(out)
    wanted = asked or (format_by_ending(out) if out else None) or "parquet"
    if wanted != "parquet":
        raise ConfigError(f"--engine ray writes a folder of Parquet, not {wanted}; choose another --format or --out")


def _bulk(
    source: str,
    guard: Path,
    victim: str | None,
    out: Path | None,
    options: dict[str, Any],
    spread: dict[str, Any],
    columns: Columns,
    *,
    with_text: bool,
    json: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Screen on a cluster, and print the summary.

    Raises:
        ConfigError: there is no such engine, or no folder for the records.
    """
    from poisonsieve.errors import ConfigError
    from poisonsieve.guard.bulk import screen_folder

    if spread.pop("engine") != "ray":
        raise ConfigError("--engine must be local or ray")
    if out is None:
        raise ConfigError("--engine ray writes a folder of Parquet files; give --out")
    summary = screen_folder(
        source, guard, victim, out, options, columns=columns, with_text=with_text, progress=not quiet, **spread
    )
    if json:
        common.print_result({**summary, "out": str(out)})
    else:
        _note(summary, quiet=quiet)
    return summary


def _note(summary: dict[str, Any], *, quiet: bool) -> None:
    """Say what came out, the rate that the guard promises, and what the rejected texts have in common."""
    common.note(
        f"{summary['n']} texts: {summary['passed']} passed, {summary['poisoned']} rejected as poisoned, "
        f"{summary['not_scored']} rejected unscored, {summary['truncated']} truncated; {summary['seconds']:.1f} s"
    )
    if not quiet:
        common.note(f"The guard promises {summary['promised']}.")
    if "traffic" in summary:
        common.note(summary["traffic"]["says"])
    groups = summary["in_common"]
    for group in (groups or [])[:_GROUPS]:
        common.note(group["says"])
    if groups == [] and summary["poisoned"] >= _MANY:
        common.note(
            "The rejected texts have no word, phrase or opening in common that sets them apart from those that passed."
        )
