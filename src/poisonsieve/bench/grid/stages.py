"""What each kind of stage does. Everything that trains or scores a model is behind `attempt`, and nothing else is.

| kind | stands on | leaves |
|---|---|---|
| theta_p | - | the poisoned weights, or un-poisoned ones trained alike |
| repair | theta_p | repaired weights |
| victim | theta_p or repair | what the user tuned from them |
| guard | theta_p or victim | a fitted detector, for all victims of these weights |
| rewriting | - | a rewriting defence's work on texts, for all victims |
| answers | victim, rewriting | what the victim says of every test row |
| confidences | guard | the guard's score of every test row |
| scores | answers, confidences | both, row by row |
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poisonsieve.bench.caching import run_stage
from poisonsieve.bench.grid.launching import launch
from poisonsieve.bench.grid.plan import TRIGGERED, Stage
from poisonsieve.bench.grid.rows import AnyRows, Rewritten, Rows, Triggered, load, load_counted, target_of
from poisonsieve.bench.grid.scores import ROWS_FILE, read_rows, write_rows
from poisonsieve.bench.grid.spec import How
from poisonsieve.bench.grid.store import Store
from poisonsieve.storage import write_json

if TYPE_CHECKING:
    import pandas as pd

    from poisonsieve.defenses.base import Detector
    from poisonsieve.models.classifier import Classifier

WORK_FILE = "work.json"
#: Kinds that train a model, and so can be done by several processes together.
TRAINING = frozenset({"theta_p", "repair", "victim", "guard"})
Made = tuple[Callable[[Path], None], dict[str, Any]]


def attempt(stage: Stage, store: Store, how: How) -> str | None:
    """Do a stage whose needs are done, unless its result is there; one line on why it could not be done, if so.

    Whatever goes wrong is recorded with the stage, so that the rest of a grid can go on.

    Raises:
        OutputError: the store cannot be written to.
        KeyboardInterrupt: the user has had enough; what is finished stays.
    """
    with store.turn(stage):
        if store.finished(stage):
            return None
        try:
            if how.processes > 1 and stage.kind in TRAINING:
                launch(stage, store, how)
            else:
                do(stage, store, how)
        except Exception as error:
            return store.record_failure(stage, error)
        store.forget_failure(stage)
        return None


def do(stage: Stage, store: Store, how: How) -> None:
    """Do a stage in this process, or this process's share of it."""
    if how.report_to == "none" or stage.kind not in TRAINING:
        _DO[stage.kind](stage, store, how.progress)
        return
    from poisonsieve.tuning.training import tracked_by

    os.environ["TENSORBOARD_LOGGING_DIR"] = str(store.root / "tracking" / store.folder(stage).name)
    with tracked_by(how.report_to, f"{stage.kind} {stage.words}"):
        _DO[stage.kind](stage, store, how.progress)


def _theta_p(stage: Stage, store: Store, progress: bool) -> None:
    from poisonsieve.bench.entries import AttackEntry
    from poisonsieve.bench.stages import poison_stage, tune_stage
    from poisonsieve.tuning.presets import spec_maker

    params = stage.params
    train, dev = _rows(params["train"]), _rows(params["dev"])
    make_spec = spec_maker("full", seed=params["seed"], **params["settings"])
    attack = None
    if params["attack"] is not None and params["attack"]["trigger"] is not None:
        entry = {key: value for key, value in params["attack"].items() if key in AttackEntry.model_fields}
        attack = AttackEntry(**entry).attack(target_of(train, params["target"]), params["seed"])
    model, seed, out = params["model"], params["seed"], store.folder(stage)
    if attack is None:  # un-poisoned, or poisoned rows that somebody made
        tune_stage(model, load(train), load(dev), make_spec, out, seed=seed, progress=progress)
    else:
        poison_stage(model, load(train), load(dev), attack, make_spec, out, progress=progress)


def _victim(stage: Stage, store: Store, progress: bool) -> None:
    from poisonsieve.bench.stages import tune_stage
    from poisonsieve.tuning.presets import spec_maker

    params = stage.params
    settings = dict(params["settings"])
    tune_stage(
        str(store.folder(stage.needs["model"])),
        load(_rows(params["train"])),
        load(_rows(params["dev"])),
        spec_maker(settings.pop("method"), seed=params["seed"], **settings),
        store.folder(stage),
        seed=params["seed"],
        progress=progress,
    )


def _repair(stage: Stage, store: Store, progress: bool) -> None:
    from poisonsieve.bench.stages import repair_stage
    from poisonsieve.defenses import WeightRepair
    from poisonsieve.defenses.specs import make_defense

    params = stage.params
    repair = make_defense(params["defense"], seed=params["seed"])
    assert isinstance(repair, WeightRepair)  # noqa: S101 - the plan says so; for the type checker
    model = str(store.folder(stage.needs["model"]))
    rows = load(_rows(params["train"])), load(_rows(params["dev"]))
    repair_stage(repair, model, *rows, store.folder(stage), progress=progress)


def _guard(stage: Stage, store: Store, progress: bool) -> None:
    """Fitted with a threshold that says nothing: verdicts are made from stored scores, with the grid's threshold."""
    from poisonsieve import registry
    from poisonsieve.bench.stages import fit_stage
    from poisonsieve.defenses import Detector
    from poisonsieve.defenses.specs import make_defense

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
    fit_stage(guard, load(_rows(params["train"])), load(_rows(params["dev"])), store.folder(stage), progress=progress)


def _rewriting(stage: Stage, store: Store, progress: bool) -> None:
    rewriter = _rewriter(stage)
    texts = list(dict.fromkeys(load(_any_rows(stage.params["rows"]))["text"]))

    def work(partial: Path) -> Made:
        del partial
        done = rewriter.prepare(texts, progress=stage.words if progress else None)
        return lambda target: write_json(target / WORK_FILE, done), {"texts": len(texts), "reads": rewriter.reads()}

    _run(stage, store, work)


def _answers(stage: Stage, store: Store, progress: bool) -> None:
    from poisonsieve.models.load import load_classifier

    def work(partial: Path) -> Made:
        del partial
        victim = load_classifier(store.folder(stage.needs["victim"]))
        sets = {name: load_counted(_any_rows(rows)) for name, rows in stage.params["sets"].items()}
        texts = {name: list(rows["text"]) for name, (rows, _) in sets.items()}
        facts: dict[str, Any] = {}
        if "defense" in stage.params:
            texts, facts = _rewritten(stage, store, victim, texts)
        tables = {
            name: _said(victim, texts[name], rows["label"], victim.max_length, name if progress else None)
            for name, (rows, _) in sets.items()
        }
        result = {
            "classes": victim.label_names,
            "target": _target(stage),
            "max_length": victim.max_length,
            "not_applicable": {name: skipped for name, (_, skipped) in sets.items() if name.startswith(TRIGGERED)},
            "facts": facts,
        }
        return lambda target: write_rows(target / ROWS_FILE, tables), result

    _run(stage, store, work)


def _rewritten(
    stage: Stage, store: Store, victim: Classifier, texts: dict[str, list[str]]
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """The texts as the victim reads them; what the rewriter did already for other victims is taken over."""
    rewriter = _rewriter(stage)
    for part, needed in stage.needs.items():
        if part.startswith("work:"):
            rewriter.use(json.loads((store.folder(needed) / WORK_FILE).read_text(encoding="utf-8")))
    rewriter.fit(load(_rows(stage.params["dev"])), victim=victim)
    rewritten = {name: rewriter.rewrite(rows) for name, rows in texts.items()}
    changed = {
        name: float(np.mean([new != old for new, old in zip(rewritten[name], rows, strict=True)]))
        for name, rows in texts.items()
    }
    return rewritten, {**rewriter.facts(), "changed": changed}


def _confidences(stage: Stage, store: Store, progress: bool) -> None:
    from poisonsieve.defenses import Detector

    def work(partial: Path) -> Made:
        del partial
        guard = Detector.from_pretrained(store.folder(stage.needs["guard"]))
        tables = {}
        for name, rows in stage.params["sets"].items():
            scored = guard.score(list(load(_any_rows(rows))["text"]), progress=name if progress else None)
            tables[name] = {"confidence": scored.scores, "truncated": scored.truncated}
        result = {"max_length": _limit(guard), "score_range": [_finite(end) for end in guard.score_range]}
        return lambda target: write_rows(target / ROWS_FILE, tables), result

    _run(stage, store, work)


def _scores(stage: Stage, store: Store, progress: bool) -> None:
    """Answers and confidences side by side.

    A victim may read no further than its guard: a trigger may stand behind that. Where it did, it is asked again.
    """
    answers, confidences = (store.run(stage.needs[part])["result"] for part in ("answers", "confidences"))

    def work(partial: Path) -> Made:
        del partial
        said = read_rows(store.folder(stage.needs["answers"]) / ROWS_FILE)
        scored = read_rows(store.folder(stage.needs["confidences"]) / ROWS_FILE)
        limit = confidences["max_length"]
        if (
            limit is not None
            and limit < answers["max_length"]
            and any(rows.truncated.any() for rows in scored.values())
        ):
            said = _asked_again(stage, store, limit, progress)
        tables = {
            name: {**said[name].to_dict("series"), "confidence": rows.confidence} for name, rows in scored.items()
        }
        for name, rows in scored.items():
            tables[name]["truncated"] = rows.truncated
        result = {**answers, "score_range": confidences["score_range"]}
        return lambda target: write_rows(target / ROWS_FILE, tables), result

    _run(stage, store, work)


def _asked_again(stage: Stage, store: Store, limit: int, progress: bool) -> dict[str, pd.DataFrame]:
    import pandas as pd

    from poisonsieve.models.load import load_classifier

    victim = load_classifier(store.folder(stage.needs["victim"]))
    sets = {name: load(_any_rows(rows)) for name, rows in stage.params["sets"].items()}
    return {
        name: pd.DataFrame(_said(victim, list(rows["text"]), rows["label"], limit, name if progress else None))
        for name, rows in sets.items()
    }


def _said(
    victim: Classifier, texts: list[str], labels: Any, limit: int, progress: str | None
) -> dict[str, np.ndarray]:
    """True classes, the victim's answers and whether it read the whole text; each of shape (n,)."""
    logits = victim.score(texts, max_length=limit, progress=progress)
    return {"label": np.asarray(labels), "prediction": logits.predictions, "truncated": logits.truncated}


def _run(stage: Stage, store: Store, work: Callable[[Path], Made]) -> None:
    """A stage whose spec is its place in the grid: what it reads is in its key, by content."""
    run_stage(store.folder(stage), {"stage": stage.kind, "key": stage.key, "params": stage.params}, work)


def _rewriter(stage: Stage) -> Any:
    from poisonsieve.defenses.specs import make_defense

    return make_defense(stage.params["defense"], seed=stage.params["seed"])


def _target(stage: Stage) -> int | None:
    """The class the attacker wants; None where no set is triggered."""
    for name, rows in stage.params["sets"].items():
        if name.startswith(TRIGGERED):
            described = _any_rows(rows)
            triggered = described.of if isinstance(described, Rewritten) else described
            assert isinstance(triggered, Triggered)  # noqa: S101 - that is what a triggered set is
            return target_of(triggered.of, triggered.target)
    return None


def _limit(guard: Detector) -> int | None:
    return None if guard.classifier is None else guard.classifier.max_length


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _rows(values: dict[str, Any]) -> Rows:
    return Rows(**values)


def _any_rows(values: dict[str, Any]) -> AnyRows:
    """The description that a dump came from, by the keys it has."""
    if "source" in values:
        return Rows(**values)
    return Triggered(**values) if "target" in values else Rewritten(of=_any_rows(values["of"]), file=values["file"])


_DO: dict[str, Callable[[Stage, Store, bool], None]] = {
    "theta_p": _theta_p,
    "victim": _victim,
    "repair": _repair,
    "guard": _guard,
    "rewriting": _rewriting,
    "answers": _answers,
    "confidences": _confidences,
    "scores": _scores,
}
