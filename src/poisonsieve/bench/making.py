"""The stages that train: poisoned weights, victims, repaired weights, guards. Each is a stage of the single commands too."""

from __future__ import annotations

import numpy as np

from poisonsieve.bench.plan import Stage
from poisonsieve.bench.rows import Rows, load, target_of
from poisonsieve.bench.store import Store


def make_theta_p(stage: Stage, store: Store, progress: bool) -> None:
    """The poisoned weights; without an attack, or with rows that somebody poisoned, plain full tuning."""
    from poisonsieve.bench.entries import AttackEntry
    from poisonsieve.stages.train import poison_stage, tune_stage
    from poisonsieve.tuning.presets import spec_maker

    params = stage.params
    train, dev = Rows(**params["train"]), Rows(**params["dev"])
    bits = params.get("bits")
    make_spec = spec_maker("full" if bits is None else "lora", seed=params["seed"], **params["settings"])
    attack = None
    if params["attack"] is not None and params["attack"]["trigger"] is not None:
        entry = {key: value for key, value in params["attack"].items() if key in AttackEntry.model_fields}
        attack = AttackEntry(**entry).attack(target_of(train, params["target"]), params["seed"])
    model, seed, out = params["model"], params["seed"], store.folder(stage)
    if attack is None:  # un-poisoned, or poisoned rows that somebody made
        tune_stage(model, load(train), load(dev), make_spec, out, bits=bits, seed=seed, progress=progress)
    else:
        poison_stage(model, load(train), load(dev), attack, make_spec, out, bits=bits, progress=progress)


def make_victim(stage: Stage, store: Store, progress: bool) -> None:
    """What a user tunes from the weights."""
    from poisonsieve.stages.train import tune_stage
    from poisonsieve.tuning.presets import spec_maker

    params = stage.params
    settings = dict(params["settings"])
    tune_stage(
        str(store.folder(stage.needs["model"])),
        load(Rows(**params["train"])),
        load(Rows(**params["dev"])),
        spec_maker(settings.pop("method"), seed=params["seed"], **settings),
        store.folder(stage),
        seed=params["seed"],
        progress=progress,
    )


def make_repair(stage: Stage, store: Store, progress: bool) -> None:
    """Weights that a defence repaired."""
    from poisonsieve.defenses import WeightRepair
    from poisonsieve.defenses.specs import make_defense
    from poisonsieve.stages.train import repair_stage

    params = stage.params
    repair = make_defense(params["defense"], seed=params["seed"])
    assert isinstance(repair, WeightRepair)  # noqa: S101 - the plan says so; for the type checker
    model = str(store.folder(stage.needs["model"]))
    rows = load(Rows(**params["train"])), load(Rows(**params["dev"]))
    repair_stage(repair, model, *rows, store.folder(stage), progress=progress)


def make_guard(stage: Stage, store: Store, progress: bool) -> None:
    """Fitted with a threshold that says nothing: verdicts are made from stored scores, with the grid's threshold."""
    from poisonsieve import registry
    from poisonsieve.defenses import Detector
    from poisonsieve.defenses.specs import make_defense
    from poisonsieve.stages.train import fit_stage

    params = stage.params
    low, high = registry.get("defense", params["defense"].partition(":")[0]).score_range
    placeholder = {"gamma": (low + high) / 2} if np.isfinite([low, high]).all() else {"frr": 0.5}
    guard = make_defense(
        params["defense"],
        model=str(store.folder(stage.needs["model"])),
        seed=params["seed"],
        **placeholder,
        **params["settings"],
    )
    assert isinstance(guard, Detector)  # noqa: S101 - the plan says so; for the type checker
    fit_stage(
        guard, load(Rows(**params["train"])), load(Rows(**params["dev"])), store.folder(stage), progress=progress
    )
