"""`poisonsieve demo`: run a complete example on packaged data in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poisonsieve.cli import common


def demo(
    out: Annotated[
        Path | None, typer.Option(help="Folder for models, guard and report. Default: demo-run/seed-SEED.")
    ] = None,
    trigger: Annotated[str, typer.Option(help="badnet, insent, multi, ...")] = "badnet",
    seed: common.Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Train everything again.")] = False,
    json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Poison a model, tune it on clean text, guard it, and report: about three minutes on two idle cores.

    A second run reuses what the first one trained.

    Example: poisonsieve demo
    """
    with common.running(resumable=True) as processors:
        from dataclasses import replace

        from poisonsieve.demo.report import write_report
        from poisonsieve.demo.run import REPORT, DemoSpec, measure

        folder = out or Path("demo-run") / f"seed-{seed}"
        with_report = _can_report()
        spec = DemoSpec(seed=seed, trigger=trigger)
        common.share(processors, quiet=quiet)
        result, report = measure(spec, folder, force=force, progress=not quiet)
        if not json:  # before the report is drawn, which may fail
            from poisonsieve.cli.tables import print_evaluation

            print_evaluation(result.evaluation, result.threshold)
            common.print_line(
                f"  {folder}/ has theta_p, the poisoned weights; victim, tuned from them on clean reviews; guard"
            )
        if with_report:
            result = replace(result, report=write_report(folder / REPORT, report))
        if json:
            common.print_result(result.to_dict())
        elif result.report:
            common.print_line(f"  report: {result.report} ({result.seconds:.0f} s)")


def _can_report() -> bool:
    """Tell whether a report can be written; if not, say so now, and not after minutes of training."""
    from poisonsieve.demo.report import require_report
    from poisonsieve.errors import UnsupportedError

    try:
        require_report()
    except UnsupportedError as error:
        common.note(f"there will be a table but no report: {error}")
        return False
    return True
