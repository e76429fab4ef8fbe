"""`poisonsieve evaluate`: measure a guard and a victim on clean and triggered text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poisonsieve.cli import command, inputs, options, outputs, printing
from poisonsieve.data.columns import Columns

if TYPE_CHECKING:
    import datasets


def evaluate(
    guard: Annotated[Path, typer.Argument(help="Guard folder, from `poisonsieve fit`.")],
    victim: Annotated[str, typer.Option(help="The victim behind the guard.")],
    clean: Annotated[str, typer.Option(help=f"Clean test rows. {options.DATA_HELP}")],
    trigger: Annotated[
        str | None, typer.Option(help="Trigger to put into the clean rows: badnet, insent, ...")
    ] = None,
    triggered: Annotated[
        str | None, typer.Option(help="Instead of --trigger: triggered rows with their true labels.")
    ] = None,
    target: Annotated[str, typer.Option(help="The class the attacker wants, by number or name.")] = "0",
    frr: options.OtherFrr = None,
    frr_mean: options.OtherFrrMean = None,
    gamma: options.OtherGamma = None,
    scores: Annotated[Path | None, typer.Option(help="Parquet file to write every row's scores to.")] = None,
    base: options.Base = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    seed: options.Seed = 0,
    allow_pickle: options.AllowPickle = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure CA and ASR with and without the guard, and its false rejections, detections and AUROC.

    Rejected clean rows count as wrong. ASR counts the rows whose true label is not the target. Intervals are 95%.

    Example: poisonsieve evaluate guard/ --victim victim/ --clean packaged:product-reviews#test --trigger badnet --target 0
    """
    with command.running(waiting=not quiet) as processors:
        from poisonsieve.errors import ConfigError
        from poisonsieve.guard import GuardedClassifier
        from poisonsieve.guard.evaluation import evaluate as evaluate_scores
        from poisonsieve.guard.evaluation import evaluation_record, score_rows, write_scores
        from poisonsieve.thresholds import rule_of

        if (trigger is None) == (triggered is None):
            raise ConfigError("give exactly one of --trigger and --triggered")
        rule = rule_of(frr=frr, frr_mean=frr_mean, gamma=gamma)
        if scores is not None:
            outputs.check_output_file("--scores", scores, [clean, triggered])
        command.share(processors, quiet=quiet)
        guarded = GuardedClassifier.from_pretrained(guard, victim, base=base, allow_pickle=allow_pickle)
        if rule:
            guarded.guard.set_threshold(**rule)
        names = guarded.guard.label_names
        wanted = inputs.class_index(target, names)
        columns = Columns(text=text_column, label=label_column)
        clean_rows = inputs.load_rows(clean, "test", names, columns)
        triggered_rows = (
            _put_in(clean_rows, trigger, wanted, seed)
            if trigger is not None
            else inputs.load_rows(str(triggered), "test", names, columns)
        )
        clean_scores = score_rows(guarded, clean_rows, progress=None if quiet else "clean")
        triggered_scores = score_rows(guarded, triggered_rows, progress=None if quiet else "triggered")
        evaluation = evaluate_scores(guarded, clean_scores, triggered_scores, target=wanted)
        if scores is not None:
            write_scores(scores, clean_scores, triggered_scores)
        if json:
            printing.print_result(evaluation_record(evaluation, clean_scores, triggered_scores))
            return
        from poisonsieve.cli.tables import print_evaluation

        print_evaluation(evaluation, guarded.guard.threshold_)


def _put_in(clean: datasets.Dataset, trigger: str, target: int, seed: int) -> datasets.Dataset:
    """Return the rows with the trigger; rows that it does not fit are left out, and counted in a note."""
    from poisonsieve.attacks import make_trigger, trigger_rows

    found = trigger_rows(clean, make_trigger(trigger), target=target, seed=seed)
    if found.not_applicable:
        printing.note(f"{found.not_applicable} rows left out: the trigger does not fit them")
    return found.rows
