"""`poisonsieve fit`: make a guard from a checkpoint that may be poisoned, and clean data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poisonsieve.cli import common

if TYPE_CHECKING:
    from poisonsieve.defenses.base import Detector
    from poisonsieve.defenses.specs import DefenseSpec
    from poisonsieve.thresholds import Threshold


def fit(
    model: Annotated[
        str, typer.Option(help="The checkpoint with its head: theta_p, or a victim tuned from it (whole or adapter).")
    ],
    data: Annotated[str, typer.Option(help=f"Clean rows to train the guard on. {common.DATA_HELP}")],
    out: Annotated[Path, typer.Option(help="Folder for the guard.")],
    defense: Annotated[
        str,
        typer.Option(help="psim or another detector, name:key=value,... for its own arguments (strip:copies=20)."),
    ] = "psim",
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
    preset: Annotated[
        str, typer.Option(help="psim: default, or paper (P-tuning v1 at 2e-5, gamma 0.7).")
    ] = "default",
    method: Annotated[
        str | None, typer.Option(help="psim: its tuning. Default: p_tuning_v1; an adapter goes on with its own.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="psim: passes over the rows. Default: 1.", min=1)] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="psim: peak learning rate. Default: by method.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="psim: rows a step. Default: 32.", min=1)] = None,
    max_length: common.MaxLength = None,
    precision: Annotated[
        str | None, typer.Option(help="psim: auto, fp32 or bf16 (training only; scoring is fp32). Default: auto.")
    ] = None,
    base: common.Base = None,
    seed: common.Seed = 0,
    allow_pickle: common.AllowPickle = False,
    force: common.Force = False,
    json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Fit a guard. No trigger has to be known, and none may be in the data. Interrupted runs go on.

    The guard is PSIM, unless --defense names another detector; `poisonsieve list` names them all.

    Example: poisonsieve fit --model theta_p/ --data packaged:product-reviews --calibrate packaged:product-reviews#dev
    --frr 0.01 --out guard/
    """
    with common.running(resumable=True):
        from poisonsieve.data import labels_of
        from poisonsieve.defenses.specs import parse_defense, require_kind
        from poisonsieve.errors import ConfigError
        from poisonsieve.stages.train import fit_stage
        from poisonsieve.thresholds import Threshold

        if preset not in ("default", "paper"):
            raise ConfigError(f"unknown preset {preset!r}; known: default, paper")
        spec = parse_defense(defense)
        require_kind(spec, "detector")
        common.check_outputs(out, force, [model, data, calibrate, base])
        psim_only = {
            "method": method,
            "learning_rate": lr,
            "epochs": epochs,
            "batch_size": batch_size,
            "precision": precision,
        }
        given = {**psim_only, "frr": frr, "gamma": gamma, "max_length": max_length, "base": base}
        chosen = {key: value for key, value in given.items() if value is not None}
        _check_options(spec, chosen, [key for key in psim_only if key in chosen], preset)
        rows = common.load_for_model(data, "train", model, allow_pickle=allow_pickle, keep_head=True)
        held_out = common.load_rows(calibrate, "dev", labels_of(rows)) if calibrate else None
        guard = _make(spec, model, preset, {**chosen, "allow_pickle": allow_pickle, "seed": seed})
        stage = fit_stage(guard, rows, held_out, out, force=force, progress=not quiet)
        classes = len(labels_of(rows))
        if classes > 2:
            common.note(
                f"warning: the model has {classes} classes, and guards were measured to hold on two: poison a model of "
                "your own and evaluate the guard on it before you rely on this one (docs/guide/defences.md)"
            )
        if json:
            common.print_result(stage.to_dict())
            return
        threshold = Threshold.from_dict({key: stage.result[key] for key in Threshold.__dataclass_fields__})
        facts = {
            "defence": spec.name,
            "gamma": f"{threshold.gamma:.6g}",
            "how it was found": threshold.describe(),
            **_to_be_sure(threshold),
            "seconds": f"{stage.seconds:.0f}",
            "written to": f"{out}{' (was already there)' if stage.reused else ''}",
        }
        common.print_facts("guard", facts)


def _to_be_sure(threshold: Threshold) -> dict[str, str]:
    """The rate to ask for instead, by those who want one guard to keep to it and not the mean of many."""
    from poisonsieve.errors import CalibrationError
    from poisonsieve.thresholds import frr_to_be_sure

    if threshold.frr is None or threshold.n_calibration is None:
        return {}
    try:
        says = f"--frr {frr_to_be_sure(threshold.frr, threshold.n_calibration):g}"
    except CalibrationError as error:
        says = f"not with these rows: {error}"
    return {"to be 95% sure of that rate": says}


def _check_options(spec: DefenseSpec, chosen: dict[str, Any], psim_only: list[str], preset: str) -> None:
    """Refuse what is said twice, what contradicts itself, and psim's options with another detector."""
    from poisonsieve.errors import ConfigError

    if spec.name != "psim" and (psim_only or preset != "default"):
        option = _option(psim_only[0]) if psim_only else "--preset"
        raise ConfigError(
            f"{option} is an option of psim; write what {spec.name} takes into --defense {spec.name}:key=value"
        )
    for key in spec.params:
        if key in chosen:
            raise ConfigError(f"{key} is given twice: in --defense and by {_option(key)}; give it once")
    if {"frr", "gamma"} <= {*chosen, *spec.params}:
        raise ConfigError("--frr and --gamma are two ways to one threshold; give one of them")


def _option(argument: str) -> str:
    return "--lr" if argument == "learning_rate" else f"--{argument.replace('_', '-')}"


def _make(spec: DefenseSpec, model: str, preset: str, settings: dict[str, Any]) -> Detector:
    from poisonsieve.defenses.base import Detector
    from poisonsieve.defenses.psim import PSIM
    from poisonsieve.defenses.specs import arguments_of, make_defense

    if preset == "paper":
        settings = {**settings, **arguments_of(spec)}
        fixed = {} if settings.get("frr") is None else {"gamma": None}
        return PSIM.paper(model, **settings, **fixed)
    made = make_defense(spec, model=model, **settings)
    assert isinstance(made, Detector)  # noqa: S101 - what require_kind has seen to
    return made
