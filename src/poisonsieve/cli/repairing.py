"""What `repair` and `fit --repair` share: running a repair, and saying what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from poisonsieve.cli import inputs, printing

if TYPE_CHECKING:
    import datasets

    from poisonsieve.data.columns import Columns
    from poisonsieve.defenses.specs import DefenseSpec
    from poisonsieve.stages.keep import StageResult


def files_of(spec: DefenseSpec) -> list[str]:
    """Return what a repair's arguments may name that is read, so that nothing replaces it."""
    from poisonsieve.defenses.specs import arguments_of

    return [str(value) for value in arguments_of(spec).values() if isinstance(value, str | Path)]


def beside(guard: Path) -> Path:
    """Return where `fit --repair` puts the repaired model: ``guard/`` and ``guard-repaired/``."""
    return guard.with_name(f"{guard.name}-repaired")


def repaired(
    spec: DefenseSpec,
    model: str,
    rows: datasets.Dataset,
    out: Path,
    *,
    dev: str | None = None,
    columns: Columns,
    seed: int,
    allow_pickle: bool,
    force: bool,
    progress: bool,
) -> StageResult:
    """Repair `model` on `rows` into the folder `out`, and warn if that costs more clean accuracy than it may.

    Without `dev`, a seeded tenth of the rows is held out for every choice.
    """
    from poisonsieve.defenses.repair import WeightRepair
    from poisonsieve.defenses.specs import make_defense
    from poisonsieve.stages.train import repair_stage

    made = make_defense(spec, seed=seed, allow_pickle=allow_pickle)
    assert isinstance(made, WeightRepair)  # noqa: S101 - parse_defense has checked the kind
    train, held_out = inputs.with_dev(rows, dev, seed, columns)
    stage = repair_stage(made, model, train, held_out, out, allow_pickle=allow_pickle, force=force, progress=progress)
    found = stage.result
    if found.get("held") is False:
        printing.note(
            f"warning: no setting kept the clean dev accuracy; the best has {printing.percent(found['dev_ca'])}, and "
            f"the model had {printing.percent(found['reference_dev_ca'])}: give more clean rows, or allow a larger drop"
        )
    return stage
