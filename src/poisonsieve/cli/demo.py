"""`poisonsieve demo`: run a complete example on packaged data in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poisonsieve.cli import command, options, printing

if TYPE_CHECKING:
    from poisonsieve.auditing import AuditResult


def demo(
    out: Annotated[
        Path | None, typer.Option(help="Folder for models, guard and report. Default: demo-run/seed-SEED.")
    ] = None,
    trigger: Annotated[str, typer.Option(help="badnet, insent, multi, ...")] = "badnet",
    audit: Annotated[
        bool, typer.Option("--audit", help="Also audit theta_p, as one who downloads it would: some minutes more.")
    ] = False,
    seed: options.Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Train everything again.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Poison a model, tune it on clean text, guard it, and report: about three minutes on two idle cores.

    A second run reuses what the first one trained.

    Example: poisonsieve demo
    """
    with command.running(resumable=True, waiting=not quiet) as processors:
        from dataclasses import replace

        from poisonsieve.demo.report import write_report
        from poisonsieve.demo.run import REPORT, DemoSpec, audit_theta_p, measure

        folder = out or Path("demo-run") / f"seed-{seed}"
        with_report = _can_report()
        spec = DemoSpec(seed=seed, trigger=trigger)
        command.share(processors, quiet=quiet)
        result, report = measure(spec, folder, force=force, progress=not quiet)
        if not json:  # before the report is drawn, which may fail
            from poisonsieve.cli.tables import print_evaluation

            print_evaluation(result.evaluation, result.threshold)
            printing.print_line(
                f"  {folder}/ has theta_p, the poisoned weights; victim, tuned from them on clean reviews; guard"
            )
        if with_report:
            result = replace(result, report=write_report(folder / REPORT, report))
        if not json and result.report:
            printing.print_line(f"  report: {result.report} ({result.seconds:.0f} s)")
        if audit:
            result = replace(result, audit=audit_theta_p(spec, folder, progress=not quiet))
        if json:
            printing.print_result(result.to_dict())
        elif result.audit:
            printing.print_line(f"  {_found(result.audit, folder)}")


def _found(audited: AuditResult, folder: Path) -> str:
    """Return in one line what the audit of theta_p found."""
    from poisonsieve.demo.run import AUDIT

    trigger = audited.trigger
    named = ""
    if trigger is not None:
        named = (
            f": {trigger.what} ({trigger.kind}) turns {printing.percent(trigger.turned)} of {trigger.texts} clean texts "
            f"into {trigger.target}, and of clean models at most {printing.percent(max(trigger.clean))}"
        )
    return f"audit of theta_p: {audited.verdict}{named}; {folder / AUDIT}/report.html ({audited.seconds:.0f} s)"


def _can_report() -> bool:
    """Tell whether a report can be written; if not, say so now, and not after minutes of training."""
    from poisonsieve.demo.report import require_report
    from poisonsieve.errors import UnsupportedError

    try:
        require_report()
    except UnsupportedError as error:
        printing.note(f"there will be a table but no report: {error}")
        return False
    return True
