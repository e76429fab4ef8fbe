"""`poisonsieve fit`: train the guard from a checkpoint that may be poisoned, and clean data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poisonsieve.cli import common


def fit(
    model: Annotated[
        str, typer.Option(help="The checkpoint with its head: theta_p, or a victim tuned from it (whole or adapter).")
    ],
    data: Annotated[str, typer.Option(help=f"Clean rows to train the guard on. {common.DATA_HELP}")],
    out: Annotated[Path, typer.Option(help="Folder for the guard.")],
    calibrate: Annotated[
        str | None, typer.Option(help="Other clean rows, for the threshold. Default: a fifth of --data is held out.")
    ] = None,
    frr: Annotated[
        float | None,
        typer.Option(
            help="Share of clean texts you accept to have rejected; decides gamma. Default: 0.01.", min=0, max=1
        ),
    ] = None,
    gamma: Annotated[float | None, typer.Option(help="A fixed threshold instead of --frr, such as 0.7.")] = None,
    preset: Annotated[str, typer.Option(help="default, or paper (P-tuning v1 at 2e-5, gamma 0.7).")] = "default",
    method: Annotated[
        str | None, typer.Option(help="Tuning of the guard. Default: p_tuning_v1; an adapter goes on with its own.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the rows. Default: 1.", min=1)] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Peak learning rate. Default: by method.")] = None,
    batch_size: common.BatchSize = 32,
    max_length: common.MaxLength = None,
    precision: common.Precision = "auto",
    base: common.Base = None,
    seed: common.Seed = 0,
    allow_pickle: common.AllowPickle = False,
    force: common.Force = False,
    json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Fit a PSIM guard. No trigger has to be known, and none may be in the data. Interrupted runs go on.

    Example: poisonsieve fit --model theta_p/ --data packaged:product-reviews --calibrate packaged:product-reviews#dev
    --frr 0.01 --out guard/
    """
    with common.running(resumable=True):
        from poisonsieve.bench.stages import fit_stage
        from poisonsieve.data import labels_of
        from poisonsieve.defenses.psim import PSIM
        from poisonsieve.errors import ConfigError

        if preset not in ("default", "paper"):
            raise ConfigError(f"unknown preset {preset!r}; known: default, paper")
        if frr is not None and gamma is not None:
            raise ConfigError("--frr and --gamma are two ways to one threshold; give one of them")
        common.check_outputs(out, force, [model, data, calibrate, base])
        rows = common.load_for_model(data, "train", model, allow_pickle=allow_pickle, keep_head=True)
        held_out = common.load_rows(calibrate, "dev", labels_of(rows)) if calibrate else None
        chosen = {"method": method, "learning_rate": lr, "epochs": epochs, "gamma": gamma}
        settings = {
            **{key: value for key, value in chosen.items() if value is not None},
            "batch_size": batch_size,
            "max_length": max_length,
            "precision": precision,
            **({"frr": frr, "gamma": None} if frr is not None else {}),
            "base": base,
            "allow_pickle": allow_pickle,
            "seed": seed,
        }
        guard = PSIM.paper(model, **settings) if preset == "paper" else PSIM(model, **settings)  # type: ignore[arg-type]
        stage = fit_stage(guard, rows, held_out, out, force=force, progress=not quiet)
        if json:
            common.print_result(stage.to_dict())
            return
        from poisonsieve.thresholds import Threshold

        threshold = Threshold.from_dict({key: stage.result[key] for key in Threshold.__dataclass_fields__})
        facts = {
            "gamma": f"{threshold.gamma:.6g}",
            "how it was found": threshold.describe(),
            "seconds": f"{stage.seconds:.0f}",
            "written to": f"{out}{' (was already there)' if stage.reused else ''}",
        }
        common.print_facts("guard", facts)
