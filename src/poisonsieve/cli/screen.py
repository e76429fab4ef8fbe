"""`poisonsieve screen`: a verdict on every text of a file."""

from __future__ import annotations

import contextlib
import itertools
import json as jsonlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poisonsieve.cli import common

if TYPE_CHECKING:
    from poisonsieve.data.inputs import InputRow
    from poisonsieve.guard import GuardedClassifier

_CHUNK = 2048  # rows held in memory at a time; sorted by length inside


def screen(
    guard: Annotated[Path, typer.Argument(help="Guard folder, from `poisonsieve fit`.")],
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="JSONL, CSV, TSV, Parquet, a file of plain lines, or - for stdin.")
    ],
    victim: Annotated[
        str | None, typer.Option(help="Classify what passes with this model. It never sees what is rejected.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSONL file for the records. Default: stdout.")] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 1 when anything was rejected.")] = False,
    frr: Annotated[
        float | None, typer.Option(help="Another false-rejection rate, from the stored calibration.")
    ] = None,
    gamma: Annotated[float | None, typer.Option(help="Another threshold.")] = None,
    no_text: Annotated[bool, typer.Option("--no-text", help="Leave the texts out of the records.")] = False,
    base: common.Base = None,
    seed: common.Seed = 0,
    allow_pickle: common.AllowPickle = False,
    json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Screen texts: one record for each input, in order, also for those that could not be read or scored.

    What could not be read or scored is rejected, with the reason. Screening draws nothing by chance: --seed changes
    nothing.

    Example: poisonsieve screen guard/ inbox.jsonl --victim victim/ --out verdicts.jsonl --exit-code
    """
    del seed
    with common.running():
        from poisonsieve.data.inputs import read_inputs
        from poisonsieve.guard import GuardedClassifier

        if out is not None:
            common.check_output_file("--out", out, [source])
        rows = read_inputs(source)
        if source != "-":
            rows = itertools.chain(
                list(itertools.islice(rows, 1)), rows
            )  # a file without texts fails here, not later
        guarded = GuardedClassifier.from_pretrained(guard, victim, base=base, allow_pickle=allow_pickle)
        if frr is not None or gamma is not None:
            guarded.guard.set_threshold(frr=frr, gamma=gamma)
        counts: Counter[str] = Counter()
        collected: list[dict[str, Any]] = []
        started = time.perf_counter()
        with contextlib.ExitStack() as stack:
            write = _writer(stack, out, collected if json else None)
            for record in _records(guarded, rows, progress=not quiet, with_text=not no_text):
                write(record)
                _count(counts, record)
        summary = _summary(counts, guarded, time.perf_counter() - started)
        if json:
            common.print_result({**summary, **({"out": str(out)} if out else {"records": collected})})
        else:
            common.note(
                f"{summary['n']} texts: {summary['passed']} passed, {summary['poisoned']} rejected as poisoned, "
                f"{summary['not_scored']} rejected unscored, {summary['truncated']} truncated; {summary['seconds']:.1f} s"
            )
    if exit_code and summary["rejected"]:
        raise typer.Exit(common.EXIT_FOUND)


def _records(
    guarded: GuardedClassifier, rows: Iterator[InputRow], *, progress: bool, with_text: bool
) -> Iterator[dict[str, Any]]:
    from tqdm import tqdm

    with tqdm(unit=" texts", desc="screening", disable=not progress, dynamic_ncols=True) as bar:
        while chunk := list(itertools.islice(rows, _CHUNK)):
            readable = [row for row in chunk if row.text is not None]
            verdicts = iter(guarded.screen([row.text for row in readable if row.text is not None]))
            for row in chunk:
                yield _record(guarded, row, next(verdicts) if row.text is not None else None, with_text)
            bar.update(len(chunk))


def _record(guarded: GuardedClassifier, row: InputRow, verdict: Any, with_text: bool) -> dict[str, Any]:
    from poisonsieve.guard import Verdict

    if verdict is None:
        gamma = guarded.guard.threshold_.gamma
        verdict = Verdict(
            rejected=True, reason=f"not read: {row.error}", confidence=None, gamma=gamma, truncated=False
        )
    return {
        "index": row.index,
        "line": row.line,
        **({"text": row.text} if with_text else {}),
        **verdict.to_dict(),
    }


def _writer(
    stack: contextlib.ExitStack, out: Path | None, collected: list[dict[str, Any]] | None
) -> Callable[[dict[str, Any]], None]:
    if out is not None:
        from poisonsieve.storage import writing_file

        stream = stack.enter_context(writing_file(out))
        return lambda record: print(jsonlib.dumps(record, ensure_ascii=False), file=stream)
    if collected is not None:
        return collected.append
    return lambda record: common.print_line(jsonlib.dumps(record, ensure_ascii=False))


def _count(counts: Counter[str], record: dict[str, Any]) -> None:
    counts["n"] += 1
    counts["truncated"] += record["truncated"]
    counts[
        "passed" if not record["rejected"] else "poisoned" if record["reason"] == "poisoned" else "not_scored"
    ] += 1


def _summary(counts: Counter[str], guarded: GuardedClassifier, seconds: float) -> dict[str, Any]:
    names = ("n", "passed", "poisoned", "not_scored", "truncated")
    return {
        **{name: counts[name] for name in names},
        "rejected": counts["poisoned"] + counts["not_scored"],
        "gamma": guarded.guard.threshold_.gamma,
        "seconds": seconds,
    }
