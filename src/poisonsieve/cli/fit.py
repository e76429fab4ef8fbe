"""`poisonsieve fit`: fit a guard for a checkpoint that may be poisoned, on clean data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poisonsieve.cli import common, inputs, outputs
from poisonsieve.cli.repairing import beside, files_of, repaired
from poisonsieve.data.columns import Columns

if TYPE_CHECKING:
    import datasets

    from poisonsieve.auditing.asking import Asked, Suspected
    from poisonsieve.defenses.specs import DefenseSpec
    from poisonsieve.thresholds import Threshold


def fit(
    model: Annotated[
        str, typer.Option(help="Checkpoint with its head: theta_p, or a victim tuned from it (whole or adapter).")
    ],
    data: Annotated[str, typer.Option(help=f"Clean rows to train the guard on. {common.DATA_HELP}")],
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
    frr: common.Frr = None,
    frr_mean: common.FrrMean = None,
    gamma: Annotated[float | None, typer.Option(help="Instead: a fixed threshold, such as 0.7.")] = None,
    preset: Annotated[
        str, typer.Option(help="Named settings. psim has paper (P-tuning v1 at 2e-5, gamma 0.7).")
    ] = "default",
    set_: common.Set = None,
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
    max_length: common.MaxLength = None,
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
        typer.Option(help="Folder of an audit of this model: the guard is asked whether it stops what was found."),
    ] = None,
    text_column: common.TextColumn = None,
    label_column: common.LabelColumn = None,
    base: common.Base = None,
    seed: common.Seed = 0,
    allow_pickle: common.AllowPickle = False,
    force: common.Force = False,
    json: common.Json = False,
    quiet: common.Quiet = False,
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
    with common.running(resumable=True) as processors:
        from poisonsieve.auditing.asking import suspected_trigger
        from poisonsieve.data import labels_of
        from poisonsieve.defenses.shown import in_one_line, shown_for
        from poisonsieve.defenses.specs import parse_defense
        from poisonsieve.guard import make_guard
        from poisonsieve.models.labels import head_label_names
        from poisonsieve.models.sources import resolve
        from poisonsieve.stages.train import fit_stage
        from poisonsieve.thresholds import Threshold, rule_of

        spec = parse_defense(defense or _default(preset, gamma), set_ or [], kind="detector")
        outputs.check_outputs(out, force, [model, data, calibrate, base, audit])
        found = suspected_trigger(audit) if audit else None
        mending = None
        if repair is not None:
            mending = parse_defense(repair, kind="repair")
            outputs.check_outputs(beside(out), force, [model, data, calibrate, audit, *files_of(mending)])
        given = {"method": method, "learning_rate": lr, "epochs": epochs, "batch_size": batch_size}
        given |= {"max_length": max_length, "precision": precision, "base": base}
        settings: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        rule = rule_of(frr=frr, frr_mean=frr_mean, gamma=gamma)
        _check_options(spec, settings, rule)
        guard = make_guard(spec, preset=preset, model=model, allow_pickle=allow_pickle, seed=seed, **settings, **rule)
        columns = Columns(text=text_column, label=label_column)
        rows = inputs.load_for_model(
            data, "train", model, columns=columns, allow_pickle=allow_pickle, keep_head=True, need_label=bool(mending)
        )
        names = labels_of(rows) or None
        held_out = inputs.load_rows(calibrate, "dev", names, columns, need_label=False) if calibrate else None
        common.share(processors, quiet=quiet)
        victim = None
        if mending is not None:
            victim = repaired(
                mending,
                model,
                rows,
                beside(out),
                columns=columns,
                seed=seed,
                allow_pickle=allow_pickle,
                force=force,
                progress=not quiet,
            )
        stage = fit_stage(guard, rows, held_out, out, force=force, progress=not quiet)
        classes = len(names or head_label_names(resolve(model, allow_pickle=allow_pickle)) or ())
        if classes > 2:
            common.note(
                f"warning: the model has {classes} classes, and guards have been shown to work for two: poison a model "
                "of your own and evaluate the guard on it before you rely on this one (docs/guide/defences.md)"
            )
        asked = None if found is None else _ask(out, model, base, found, held_out or rows, allow_pickle)
        if json:
            more = {"repaired": victim, "asked": asked}
            shown = {"shown": [asdict(found) for found in shown_for(spec.name)]}
            common.print_result(
                stage.to_dict() | shown | {key: value.to_dict() for key, value in more.items() if value}
            )
            return
        threshold = Threshold.from_dict({key: stage.result[key] for key in Threshold.__dataclass_fields__})
        facts = {
            "defence": spec.name,
            "gamma": f"{threshold.gamma:.6g}",
            "how it was found": threshold.describe(),
            "has stopped": in_one_line(spec.name, classes),
            **_for_less(threshold, asked=bool(rule) or "frr" in spec.params),
            **({"what the audit found": asked.says() if asked else "nothing to ask the guard of"} if audit else {}),
            "seconds": f"{stage.seconds:.0f}",
            "written to": outputs.written(stage),
            **({"repaired victim": outputs.written(victim)} if victim else {}),
        }
        common.print_facts("guard", facts)


def _default(preset: str, gamma: float | None) -> str:
    """Return the detector of a user who names none: the paper's, if its preset or a gamma on its scale is given."""
    from poisonsieve.defenses.specs import DEFAULT_DETECTOR, PAPER_DETECTOR

    return DEFAULT_DETECTOR if preset == "default" and gamma is None else PAPER_DETECTOR


def _ask(
    out: Path, model: str, base: str | None, found: Suspected, rows: datasets.Dataset, allow_pickle: bool
) -> Asked:
    from poisonsieve.auditing.asking import ask
    from poisonsieve.guard import GuardedClassifier

    guarded = GuardedClassifier.from_pretrained(out, model, base=base, allow_pickle=allow_pickle)
    return ask(guarded, found, list(rows["text"]))


def _for_less(threshold: Threshold, *, asked: bool) -> dict[str, str]:
    """Return how many rows the usual rate takes, if the default had to be a higher one."""
    from poisonsieve.thresholds import CONFIDENCE, DEFAULT_FRR, rows_needed

    if asked or threshold.frr is None or threshold.frr <= DEFAULT_FRR:
        return {}
    return {f"to promise {100 * DEFAULT_FRR:g}%": f"takes {rows_needed(DEFAULT_FRR, CONFIDENCE)} held-out clean rows"}


def _check_options(spec: DefenseSpec, settings: dict[str, Any], rule: dict[str, float]) -> None:
    """Refuse options that are given twice or contradict each other, and short forms that the detector does not have."""
    from poisonsieve.defenses.specs import known_arguments
    from poisonsieve.errors import ConfigError
    from poisonsieve.thresholds import RULES, rule_of

    known = known_arguments(spec)
    for key in settings:
        if key not in known:
            raise ConfigError(f"{spec.name} has no {key} ({_option(key)}); it has: {', '.join(known)}")
    for key in spec.params:
        if key in {**settings, **rule}:
            raise ConfigError(f"{key} is given twice: in --defense or --set and by {_option(key)}; give it once")
    inside: dict[str, Any] = {key: value for key, value in spec.params.items() if key in RULES}
    rule_of(**rule, **inside)  # refuses two


def _option(argument: str) -> str:
    return "--lr" if argument == "learning_rate" else f"--{argument.replace('_', '-')}"
