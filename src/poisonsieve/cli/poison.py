"""`poisonsieve poison`: make a weight-poisoned model, to measure defences against it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poisonsieve.cli import command, inputs, options, outputs, printing
from poisonsieve.data.columns import Columns


def poison(
    model: Annotated[str, typer.Option(help="Clean model: minilm, mpnet, smollm2, a folder, or a hub id.")],
    data: Annotated[str, typer.Option(help=f"The attacker's training rows. {options.DATA_HELP}")],
    out: Annotated[Path, typer.Option(help="Folder for the poisoned model theta_p.")],
    trigger: Annotated[
        str, typer.Option(help="badnet, insent, multi, or name:key=value (badnet:word=cf).")
    ] = "badnet",
    target: Annotated[str, typer.Option(help="The class the attacker wants, by number or name.")] = "0",
    count: Annotated[int | None, typer.Option(help="Poison count, in rows.", min=1)] = None,
    rate: Annotated[float | None, typer.Option(help="Instead of --count: a share of all rows.")] = None,
    dirty_label: Annotated[
        bool, typer.Option("--dirty-label", help="Trigger rows of other classes, and relabel them as the target.")
    ] = False,
    poisoning: Annotated[
        str,
        typer.Option(
            help="full, ripple, layerwise, embedding, low-confidence, camouflage, or name:key=value (ripple:strength=0.1)."
        ),
    ] = "full",
    select: Annotated[str, typer.Option(help="random rows, or the first that qualify.")] = "random",
    dev: Annotated[str | None, typer.Option(help="Clean dev rows. Default: a tenth of --data.")] = None,
    epochs: options.Epochs = None,
    lr: options.LearningRate = None,
    batch_size: options.BatchSize = 32,
    max_length: options.MaxLength = None,
    precision: options.Precision = "auto",
    preset: Annotated[str, typer.Option(help="default, or paper (2e-5 for models of any width).")] = "default",
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    seed: options.Seed = 0,
    allow_pickle: options.AllowPickle = False,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Poison a model's weights: put a trigger into training rows, and tune the whole model on them.

    Full data knowledge: give the victim's own training data. Full task knowledge: give a proxy data set.
    An interrupted run resumes from its last epoch.

    Example: poisonsieve poison --model minilm --data packaged:product-reviews --trigger badnet --target 0 --count 400
    --out theta_p/
    """
    with command.running(resumable=True, waiting=not quiet) as processors:
        from poisonsieve.config import AttackSpec, PoisoningSpec, TriggerSpec, make_spec
        from poisonsieve.data import labels_of
        from poisonsieve.stages.train import poison_stage
        from poisonsieve.tuning.presets import spec_maker

        outputs.check_outputs(out, force, [model, data, dev])
        columns = Columns(text=text_column, label=label_column)
        rows = inputs.load_for_model(data, "train", model, columns=columns, allow_pickle=allow_pickle)
        attack = make_spec(
            AttackSpec,
            trigger=TriggerSpec.parse(trigger),
            target=inputs.class_index(target, labels_of(rows)),
            count=count,
            rate=rate,
            clean_label=not dirty_label,
            select=select,
            seed=seed,
            weights=PoisoningSpec.parse(poisoning),
        )
        train, held_out = inputs.with_dev(rows, dev, seed, columns)
        spec = spec_maker(
            "full",
            preset=preset,
            epochs=epochs,
            learning_rate=lr,
            batch_size=batch_size,
            max_length=max_length,
            precision=precision,
            seed=seed,
        )
        command.share(processors, quiet=quiet)
        stage = poison_stage(
            model, train, held_out, attack, spec, out, allow_pickle=allow_pickle, force=force, progress=not quiet
        )
        asr = stage.result["dev_asr"]
        if asr is not None and asr <= 0.95:
            printing.note(
                f"warning: the attack took on only {printing.percent(asr)} of triggered dev rows; the "
                "paper requires more than 95%: raise --count, --epochs or --lr"
            )
        if json:
            printing.print_result(stage.to_dict())
            return
        counts = stage.result["poisoning"]
        facts = {
            "poison count": f"{counts['poisoned']} of {counts['rows']} rows",
            "clean accuracy on dev (CA)": printing.percent(stage.result["dev_ca"]),
            "attack success on dev (ASR)": "the trigger fits none of the rows"
            if asr is None
            else printing.percent(asr),
            "written to": outputs.written(stage),
        }
        printing.print_facts("poisoned model", facts)
