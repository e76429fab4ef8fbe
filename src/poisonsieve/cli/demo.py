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
    with common.running(resumable=True):
        from poisonsieve.bench.demo import DemoSpec, run_demo

        spec = DemoSpec(seed=seed, trigger=trigger)
        result = run_demo(spec, out or Path("demo-run") / f"seed-{seed}", force=force, progress=not quiet)
        if json:
            common.print_result(result.to_dict())
            return
        from poisonsieve.cli.tables import print_evaluation

        print_evaluation(result.evaluation, result.threshold)
        common.print_line(f"  report                                  {result.report}   ({result.seconds:.0f} s)")
