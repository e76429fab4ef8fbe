"""`poisonsieve audit`: is this checkpoint poisoned, and by what?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poisonsieve.cli import command, inputs, options, outputs, printing
from poisonsieve.data.columns import Columns

if TYPE_CHECKING:
    from poisonsieve.auditing import AuditResult


def audit(
    checkpoint: Annotated[
        str,
        typer.Argument(help="The classifier to audit, with its trained head: folder (whole or adapter) or hub id."),
    ],
    data: Annotated[str, typer.Option(help=f"Clean labelled rows of its task. {options.DATA_HELP}")],
    base: Annotated[
        str | None,
        typer.Option(help="Trusted pretrained weights, to train controls from and to compare with. Default: minilm."),
    ] = None,
    adapter_base: Annotated[
        str | None, typer.Option(help="Where the base model of an adapter is, if it was moved.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for audit.json and report.html.")] = None,
    budget: Annotated[str, typer.Option(help="quick, normal or thorough.")] = "quick",
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 on suspicious and poisoned.")] = False,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    seed: options.Seed = 0,
    allow_pickle: options.AllowPickle = False,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Look for a backdoor in a classifier before you use it: what turns it, and does not turn clean models.

    A verdict of "no sign found" is never "clean"; the report says what was searched, and what was not. If your checkpoint
    has no head, tune it first (poisonsieve tune) and audit the result: a backdoor is still in it.

    Example: poisonsieve audit downloaded-checkpoint/ --data packaged:product-reviews#dev --out audit/
    """
    with command.running(resumable=True, waiting=not quiet) as processors:
        from poisonsieve.auditing import audit as run_audit
        from poisonsieve.auditing.folder import write_audit

        if out is not None:
            outputs.check_outputs(out, force, [checkpoint, data, base, adapter_base])
        columns = Columns(text=text_column, label=label_column)
        rows = inputs.load_for_model(
            data, "train", checkpoint, columns=columns, allow_pickle=allow_pickle, keep_head=True
        )
        command.share(processors, quiet=quiet)
        result = run_audit(
            checkpoint,
            rows,
            base=base,
            adapter_base=adapter_base,
            budget=budget,
            seed=seed,
            allow_pickle=allow_pickle,
            progress=not quiet,
        )
        if out is not None:
            write_audit(result, out)
        if json:
            printing.print_result(result.to_dict())
        else:
            _print(result, out)
    if exit_code and result.verdict != "no sign found":
        raise typer.Exit(command.EXIT_FOUND)


def _print(result: AuditResult, out: Path | None) -> None:
    facts: dict[str, str] = {"verdict": result.verdict}
    if result.trigger is not None:
        facts["suspected trigger"] = f"{result.trigger.what} ({result.trigger.kind}), towards {result.trigger.target}"
    for name, found in result.strongest.items():
        facts[f"most towards {name}"] = (
            f"{found.what} ({found.kind}): turns {printing.percent(found.turned)} of {found.texts} texts, of clean models "
            f"at most {printing.percent(max(found.clean))}"
        )
    if result.weights is not None and result.weights.alone:
        facts["embeddings that moved alone"] = ", ".join(result.weights.alone)
    facts["p-value"] = f"{result.p_value:.2g} (from {len(result.null)} values of clean models)"
    facts |= {f"warning {number}": line for number, line in enumerate(result.warnings, start=1)}
    facts["not searched"] = "; ".join(result.not_searched)
    facts |= {f"next {number}": line for number, line in enumerate(result.advice, start=1)}
    facts["seconds"] = f"{result.seconds:.0f}"
    if out is not None:
        facts["written to"] = f"{out / 'report.html'}"
    printing.print_facts("audit", facts)
