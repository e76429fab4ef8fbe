"""`poisonsieve tune`: fine-tune a model on clean data, as its user would."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poisonsieve.cli import command, inputs, options, outputs, printing
from poisonsieve.data.columns import Columns


def tune(
    model: Annotated[
        str, typer.Option(help="Model to start from: packaged alias, folder (whole or adapter), or hub id.")
    ],
    data: Annotated[str, typer.Option(help=f"Clean training rows. {options.DATA_HELP}")],
    out: Annotated[Path, typer.Option(help="Folder for the tuned victim.")],
    method: Annotated[str, typer.Option(help="full, lora, prompt_tuning, p_tuning_v1 or p_tuning_v2.")] = "lora",
    dev: Annotated[
        str | None, typer.Option(help="Clean dev rows, for choosing the best epoch. Default: a tenth of --data.")
    ] = None,
    epochs: options.Epochs = None,
    lr: options.LearningRate = None,
    batch_size: options.BatchSize = 32,
    max_length: options.MaxLength = None,
    precision: options.Precision = "auto",
    preset: Annotated[
        str, typer.Option(help="default, or paper (20 epochs at 2e-3 for the PEFT methods).")
    ] = "default",
    base: options.Base = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    seed: options.Seed = 0,
    allow_pickle: options.AllowPickle = False,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Fine-tune a model on clean data with one of five tunings. An interrupted run resumes from its last epoch.

    Example: poisonsieve tune --model theta_p/ --data packaged:product-reviews --dev packaged:product-reviews#dev
    --method lora --out victim/
    """
    with command.running(resumable=True, waiting=not quiet) as processors:
        from poisonsieve.data import labels_of
        from poisonsieve.stages.train import tune_stage
        from poisonsieve.tuning.presets import spec_maker

        outputs.check_outputs(out, force, [model, data, dev, base])
        columns = Columns(text=text_column, label=label_column)
        rows = inputs.load_for_model(data, "train", model, columns=columns, allow_pickle=allow_pickle)
        train, held_out = inputs.with_dev(rows, dev, seed, columns)
        spec = spec_maker(
            method,
            preset=preset,
            epochs=epochs,
            learning_rate=lr,
            batch_size=batch_size,
            max_length=max_length,
            precision=precision,
            seed=seed,
        )
        command.share(processors, quiet=quiet)
        stage = tune_stage(
            model,
            train,
            held_out,
            spec,
            out,
            base=base,
            allow_pickle=allow_pickle,
            seed=seed,
            force=force,
            progress=not quiet,
        )
        if stage.result["new_head"] and not stage.reused:
            printing.note(
                f"note: {model} had no head for the classes {', '.join(labels_of(rows))}; trained a new one"
            )
        if json:
            printing.print_result(stage.to_dict())
            return
        training = stage.result["training"]
        facts = {
            "tuning": method,
            "trained weights": f"{training['trained_weights']:,}",
            "accuracy on dev": printing.percent(stage.result["dev_ca"]),
            "best epoch": f"{training['best_epoch']} of {len(training['epochs'])}",
            "written to": outputs.written(stage),
        }
        printing.print_facts("tuned model", facts)
