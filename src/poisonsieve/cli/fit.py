"""`poisonsieve fit`: fit a guard for a checkpoint that may be poisoned, on clean data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from poisonsieve.cli import command, inputs, options, outputs, printing
from poisonsieve.cli.fitted import Fitted, warn_of_classes
from poisonsieve.cli.fitting import ask_guard, check_options, default_detector
from poisonsieve.cli.repairing import beside, files_of, repaired
from poisonsieve.data.columns import Columns


def fit(
    model: Annotated[
        str, typer.Option(help="Checkpoint with its head: theta_p, or a victim tuned from it (whole or adapter).")
    ],
    data: Annotated[str, typer.Option(help=f"Clean rows to train the guard on. {options.DATA_HELP}")],
    out: Annotated[Path, typer.Option(help="Folder for the guard.")],
    defense: Annotated[
        str | None,
        typer.Option(
            help="A detector by name; name:key=value,... sets its arguments (strip:copies=20). Default: psim-rarity; "
            "psim with --preset or --gamma."
        ),
    ] = None,
    calibrate: Annotated[
        str | None, typer.Option(help="Other clean rows, for the threshold. Default: a held-out fifth of --data.")
    ] = None,
    frr: options.Frr = None,
    frr_mean: options.FrrMean = None,
    gamma: Annotated[float | None, typer.Option(help="Instead: a fixed threshold, such as 0.7.")] = None,
    preset: Annotated[
        str, typer.Option(help="Named settings. psim has paper (P-tuning v1 at 2e-5, gamma 0.7).")
    ] = "default",
    set_: options.Set = None,
    method: Annotated[
        str | None,
        typer.Option(help="Short for --set method=... psim: p_tuning_v1; an adapter keeps its own tuning."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Short for --set epochs=... psim: passes over the rows, 1 by default.", min=1)
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            "--lr", help="Short for --set learning_rate=... psim: peak learning rate, by method by default."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Short for --set batch_size=... psim: rows per step, 32 by default.", min=1)
    ] = None,
    max_length: options.MaxLength = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Short for --set precision=... psim: auto, fp32 or bf16 (training only), auto by default."),
    ] = None,
    repair: Annotated[
        str | None,
        typer.Option(
            help="Also repair --model, into OUT-repaired, as the victim to put behind the guard: name:key=value,... of a "
            "repair. Needs labels."
        ),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an audit of this model: the guard is asked whether it stops what was found, and OUT/asked.json "
            "keeps the answer."
        ),
    ] = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    base: options.Base = None,
    seed: options.Seed = 0,
    allow_pickle: options.AllowPickle = False,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Fit a guard on clean data, without knowing a trigger. Labels are not needed. An interrupted run resumes.

    The guard is PSIM's copy, judged by how rare its confidence and its hidden states are (psim-rarity), unless --defense
    names another detector; `poisonsieve list` names them all. Set a detector's arguments by --defense name:key=value,...
    or by --set key=value; --method, --epochs, --lr, --batch-size, --max-length, --precision and --base are short forms
    for detectors that have such an argument.

    With --repair, a repaired copy of the model is made first, in OUT-repaired, and the guard is fitted on the model as it
    was, where a trigger shows. Screen with --victim OUT-repaired.

    Words: theta_p is a checkpoint that may be poisoned. The guard gives every text a confidence; gamma is the threshold
    above which a text is rejected; the false-rejection rate (FRR) is the share of clean texts rejected at gamma.

    Example: poisonsieve fit --model theta_p/ --data packaged:product-reviews --calibrate packaged:product-reviews#dev
    --frr 0.01 --out guard/
    """
    with command.running(resumable=True, waiting=not quiet) as processors:
        from poisonsieve.auditing.asking import suspected_trigger
        from poisonsieve.data import labels_of
        from poisonsieve.defenses.specs import parse_defense, threshold_of
        from poisonsieve.guard import make_guard
        from poisonsieve.models.labels import head_label_names
        from poisonsieve.models.sources import resolve
        from poisonsieve.stages.train import fit_stage
        from poisonsieve.thresholds import rule_of

        spec = parse_defense(defense or default_detector(preset, gamma), set_ or [], kind="detector")
        mending = None if repair is None else parse_defense(repair, kind="repair")
        outputs.check_outputs(out, force, [model, data, calibrate, base, audit])
        if mending:
            outputs.check_outputs(beside(out), force, [model, data, calibrate, audit, *files_of(mending)])
        found = suspected_trigger(audit) if audit else None
        short = {"method": method, "learning_rate": lr, "epochs": epochs, "batch_size": batch_size}
        short |= {"max_length": max_length, "precision": precision, "base": base}
        settings: dict[str, Any] = {key: value for key, value in short.items() if value is not None}
        rule = rule_of(frr=frr, frr_mean=frr_mean, gamma=gamma)
        check_options(spec, settings, rule)
        guard = make_guard(spec, preset=preset, model=model, allow_pickle=allow_pickle, seed=seed, **settings, **rule)

        columns = Columns(text=text_column, label=label_column)
        opening: dict[str, Any] = {"columns": columns, "allow_pickle": allow_pickle}
        rows = inputs.load_for_model(data, "train", model, keep_head=True, need_label=bool(mending), **opening)
        names = labels_of(rows) or None
        held_out = inputs.load_rows(calibrate, "dev", names, columns, need_label=False) if calibrate else None

        command.share(processors, quiet=quiet)
        making: dict[str, Any] = {"force": force, "progress": not quiet}
        victim = repaired(mending, model, rows, beside(out), seed=seed, **opening, **making) if mending else None
        stage = fit_stage(guard, rows, held_out, out, **making)
        classes = len(names or head_label_names(resolve(model, allow_pickle=allow_pickle)) or ())
        warn_of_classes(classes)
        asked = None
        if found:
            asked = ask_guard(out, model, found, held_out or rows, base=base, allow_pickle=allow_pickle)
        made = Fitted(spec.name, stage, classes, bool(rule or threshold_of(spec)[1]), victim, bool(audit), asked)
        if json:
            printing.print_result(made.to_dict())
        else:
            printing.print_facts("guard", made.facts())
