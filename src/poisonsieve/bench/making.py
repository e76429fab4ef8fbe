"""The stages that train: poisoned weights, victims, repaired weights, guards. Each is a stage of the single commands too."""

from __future__ import annotations

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
    """Fitted, with scores of the dev rows and no threshold: verdicts are made from scores, by the grid's rule."""
    from poisonsieve.guard import make_guard as make
    from poisonsieve.stages.train import fit_stage

    params = stage.params
    model = str(store.folder(stage.needs["model"]))
    guard = make(params["defense"], model=model, seed=params["seed"], **params["settings"])
    guard.set_params(frr=None, gamma=None)
    fit_stage(
        guard, load(Rows(**params["train"])), load(Rows(**params["dev"])), store.folder(stage), progress=progress
    )
