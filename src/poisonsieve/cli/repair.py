"""`poisonsieve repair`: remove a backdoor from a model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poisonsieve.cli import command, inputs, options, outputs, printing
from poisonsieve.cli.repairing import files_of, repaired
from poisonsieve.data.columns import Columns


def repair(
    model: Annotated[str, typer.Option(help="Whole checkpoint with its head, possibly poisoned: theta_p.")],
    data: Annotated[str, typer.Option(help=f"Clean rows to tune on. {options.DATA_HELP}")],
    out: Annotated[Path, typer.Option(help="Folder for the repaired model.")],
    defense: Annotated[
        str, typer.Option(help="feature-shift, or fine-mixing:pretrained=minilm; name:key=value,... sets arguments.")
    ],
    set_: options.Set = None,
    dev: Annotated[
        str | None, typer.Option(help="Clean dev rows to choose settings on. Default: a tenth of --data.")
    ] = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    seed: options.Seed = 0,
    allow_pickle: options.AllowPickle = False,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Repair a model's weights with clean data. Nothing is rejected: the repaired model answers every text.

    An interrupted run resumes. `poisonsieve list` names the repairs.

    Example: poisonsieve repair --model theta_p/ --data packaged:product-reviews --defense fine-mixing:pretrained=minilm
    --out repaired/
    """
    with command.running(resumable=True, waiting=not quiet) as processors:
        from poisonsieve.defenses.specs import parse_defense

        spec = parse_defense(defense, set_ or [], kind="repair")
        outputs.check_outputs(out, force, [model, data, dev, *files_of(spec)])
        columns = Columns(text=text_column, label=label_column)
        rows = inputs.load_for_model(data, "train", model, columns=columns, allow_pickle=allow_pickle, keep_head=True)
        command.share(processors, quiet=quiet)
        stage = repaired(
            spec,
            model,
            rows,
            out,
            dev=dev,
            columns=columns,
            seed=seed,
            allow_pickle=allow_pickle,
            force=force,
            progress=not quiet,
        )
        found = stage.result
        if json:
            printing.print_result(stage.to_dict())
            return
        facts = {
            "defence": spec.name,
            **({"share of the weights kept": f"{found['share']:g}"} if "share" in found else {}),
            "clean accuracy on dev (CA)": printing.percent(found["dev_ca"]),
            "seconds": f"{stage.seconds:.0f}",
            "written to": outputs.written(stage),
        }
        printing.print_facts("repaired model", facts)
