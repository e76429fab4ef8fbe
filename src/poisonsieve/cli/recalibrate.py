"""`poisonsieve recalibrate`: find gamma again, using reviewers' decisions on real traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poisonsieve.cli import command, options, outputs, printing
from poisonsieve.cli.serve import DEFAULT_DATABASE, Database

if TYPE_CHECKING:
    from poisonsieve.serve.recalibrate import Recalibration


def recalibrate(
    guard: Annotated[Path, typer.Argument(help="The guard folder that was served.")],
    out: Annotated[Path, typer.Option(help="Folder for the guard with the new gamma.")],
    db: Database = DEFAULT_DATABASE,
    frr: Annotated[
        float | None,
        typer.Option(
            help="Another rate, promised with 95% confidence. Default: the one the guard was made with.", min=0, max=1
        ),
    ] = None,
    frr_mean: Annotated[float | None, typer.Option(help="Or another rate, kept to on average.", min=0, max=1)] = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Find gamma again from the calibration rows, the texts that passed, and the reviewers' false alarms.

    Gamma rises only if false alarms exceed the rate by more than chance, and never so far that a record judged as poison
    would pass. It never falls. Undecided records count as poison.

    Example: poisonsieve recalibrate guard/ --db quarantine.sqlite --out guard-2/
    """
    with command.running():
        command.require_extra("serve", "sqlalchemy")
        from poisonsieve.serve.quarantine import Quarantine
        from poisonsieve.serve.recalibrate import recalibrate as run
        from poisonsieve.serve.recalibrate import write_recalibrated
        from poisonsieve.serve.tables import open_database
        from poisonsieve.storage import require_free

        outputs.check_outputs(out, force, [guard])
        require_free(out, force=force)  # `check_outputs` allows a folder that a training command made
        engine = open_database(db, create=False)
        done = run(guard, Quarantine(engine), frr=frr, frr_mean=frr_mean)
        engine.dispose()
        write_recalibrated(guard, out, done)
        if json:
            printing.print_result({**done.to_dict(), "out": str(out)})
        else:
            printing.print_facts(f"guard in {out}", _facts(done))


def _facts(done: Recalibration) -> dict[str, object]:
    reviewed = done.reviewed
    rate = "no traffic yet"
    if done.rate is not None and done.rate_interval is not None:
        low, high = done.rate_interval
        rate = f"{100 * done.rate:.3g}% of clean traffic (95%: {100 * low:.3g}% to {100 * high:.3g}%)"
    moved = f"{done.before.gamma:.6g} -> {done.after.gamma:.6g}"
    return {
        "gamma": moved if done.raised else f"{done.after.gamma:.6g}, unchanged: false alarms are not above the rate",
        "promised": done.after.promise,
        "false alarms": rate,
        "reviewed": f"{len(reviewed.false_alarms)} false alarms, {len(reviewed.poison)} poison, "
        f"{reviewed.undecided} undecided (count as poison)",
        "passed": reviewed.passed,
    }
