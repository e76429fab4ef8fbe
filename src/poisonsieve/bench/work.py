"""The work of each kind of stage. Everything that trains or scores a model is here, and nothing else.

| kind | needs | result |
|---|---|---|
| theta_p | - | the poisoned weights, or un-poisoned ones from the same training |
| repair | theta_p | repaired weights |
| victim | theta_p or repair | the model that the user tuned from them |
| guard | theta_p or victim | a fitted detector, shared by all victims of these weights |
| rewriting | - | a rewriter's work on texts, shared by all victims |
| answers | victim, rewriting | the victim's answer on every test row |
| confidences | guard | the guard's score of every test row |
| shortened | victim, answers, confidences | the answers again, where the victim reads further than the guard |
| scores | answers, confidences, shortened | both, row by row; opens no model |
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poisonsieve.bench.judge import ROWS_FILE
from poisonsieve.bench.plan import TRIGGERED, Answers, Fit, Rewriting, Scored, Stage, ThetaP, Victim
from poisonsieve.bench.rows import AnyRows, Rewritten, Triggered, load, load_with_skipped, target_of
from poisonsieve.bench.spec import RunOptions
from poisonsieve.bench.store import Store
from poisonsieve.storage import read_rows, write_json, write_rows

if TYPE_CHECKING:
    from poisonsieve.defenses import Rewriter
    from poisonsieve.models.classifier import Classifier

#: Kinds that train a model, which several processes can do together.
TRAINING = frozenset({"theta_p", "repair", "victim", "guard"})
#: Kinds that open no model.
LIGHT = frozenset({"scores"})
WORK_FILE = "work.json"
Output = tuple[Callable[[Path], None], dict[str, Any]]


def do_stage(stage: Stage, store: Store, options: RunOptions) -> None:
    """Do a stage's work in this process, or this process's share of it."""
    if options.report_to == "none" or stage.kind not in TRAINING:
        _WORK[stage.kind](stage, store, options.progress)
        return
    from poisonsieve.tuning.trainer import tracked_by

    os.environ["TENSORBOARD_LOGGING_DIR"] = str(store.root / "tracking" / store.folder(stage).name)
    with tracked_by(options.report_to, f"{stage.kind} {stage.title}"):
        _WORK[stage.kind](stage, store, options.progress)


def make_theta_p(stage: Stage, store: Store, progress: bool) -> None:
    """Train the poisoned weights; plain full tuning without an attack, or on rows that are already poisoned."""
    from poisonsieve.stages.train import poison_stage, tune_stage
    from poisonsieve.tuning.presets import spec_maker

    params = ThetaP(**stage.params)
    make_spec = spec_maker("full" if params.bits is None else "lora", seed=params.seed, **params.settings)
    inputs = params.model, load(params.train), load(params.dev)
    out: dict[str, Any] = {"out": store.folder(stage), "bits": params.bits, "progress": progress}
    if params.attack is None:
        tune_stage(*inputs, make_spec, seed=params.seed, **out)
    else:
        attack = params.attack.attack(target_of(params.train, params.target), params.seed)
        poison_stage(*inputs, attack, make_spec, **out)


def make_victim(stage: Stage, store: Store, progress: bool) -> None:
    """Tune the user's model from the weights."""
    from poisonsieve.stages.train import tune_stage
    from poisonsieve.tuning.presets import spec_maker

    params = Victim(**stage.params)
    settings = {key: value for key, value in params.settings.items() if key != "method"}
    tune_stage(
        str(store.folder(stage.needs["model"])),
        load(params.train),
        load(params.dev),
        spec_maker(params.settings["method"], seed=params.seed, **settings),
        store.folder(stage),
        seed=params.seed,
        progress=progress,
    )


def make_repair(stage: Stage, store: Store, progress: bool) -> None:
    """Repair weights with a defence."""
    from poisonsieve.defenses import WeightRepair
    from poisonsieve.defenses.specs import make_defense
    from poisonsieve.stages.train import repair_stage

    params = Fit(**stage.params)
    repair = make_defense(params.defense, seed=params.seed)
    assert isinstance(repair, WeightRepair)  # noqa: S101 - the plan says so; for the type checker
    model = str(store.folder(stage.needs["model"]))
    repair_stage(repair, model, load(params.train), load(params.dev), store.folder(stage), progress=progress)


def make_guard(stage: Stage, store: Store, progress: bool) -> None:
    """Fit a guard and score the dev rows, without a threshold: the grid's rule finds it on the scores later."""
    from poisonsieve.guard import make_guard as make
    from poisonsieve.stages.train import fit_stage

    params = Fit(**stage.params)
    guard = make(params.defense, model=str(store.folder(stage.needs["model"])), seed=params.seed)
    guard.set_params(frr=None, frr_mean=None, gamma=None)
    fit_stage(guard, load(params.train), load(params.dev), store.folder(stage), progress=progress)


def make_rewriting(stage: Stage, store: Store, progress: bool) -> None:
    """Do the part of a rewriter's work on texts that does not depend on the victim."""
    params = Rewriting(**stage.params)
    rewriter = _rewriter(params.defense, params.seed)
    texts = list(dict.fromkeys(load(params.rows)["text"]))

    def work(partial: Path) -> Output:
        done = rewriter.prepare(texts, workdir=partial, progress=stage.title if progress else None)
        result = {"texts": len(texts), "seconds": done.seconds, "reads": rewriter.reads()}
        return lambda target: write_json(target / WORK_FILE, done.by_text), result

    _run(stage, store, work)


def make_answers(stage: Stage, store: Store, progress: bool) -> None:
    """Record the victim's answer on every test row, rewritten first if the defence rewrites."""
    from poisonsieve.models.load import load_classifier

    params = Answers(**stage.params)

    def work(partial: Path) -> Output:
        del partial
        victim = load_classifier(store.folder(stage.needs["victim"]))
        sets = {name: load_with_skipped(rows) for name, rows in params.sets.items()}
        labels = {name: np.asarray(rows["label"]) for name, (rows, _) in sets.items()}
        texts = {name: list(rows["text"]) for name, (rows, _) in sets.items()}
        chosen: dict[str, Any] = {"facts": {}}
        if params.defense is not None:
            texts, chosen = _rewritten(params, stage, store, victim, texts)
        tables, seconds = _predictions(victim, texts, labels, victim.max_length, progress)
        result = {
            "classes": victim.label_names,
            "target": _target(params.sets),
            "max_length": victim.max_length,
            "not_applicable": {name: skipped for name, (_, skipped) in sets.items() if name.startswith(TRIGGERED)},
            "rows": sum(map(len, labels.values())),
            "seconds": seconds,
            **chosen,
        }
        return lambda target: write_rows(target / ROWS_FILE, tables), result

    _run(stage, store, work)


def _rewritten(
    params: Answers, stage: Stage, store: Store, victim: Classifier, texts: Mapping[str, list[str]]
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Return the texts as the victim reads them, and the rewriter's choices; reuses the work shared by all victims."""
    rewriter = _rewriter(params.defense or "", params.seed)
    for part, needed in stage.needs.items():
        if part.startswith("work:"):
            rewriter.use(json.loads((store.folder(needed) / WORK_FILE).read_text(encoding="utf-8")))
    started = time.perf_counter()
    if params.dev is not None:
        rewriter.fit(load(params.dev), victim=victim)
    fitted = time.perf_counter()
    rewritten = {name: rewriter.rewrite(rows) for name, rows in texts.items()}
    seconds = {"fit_seconds": fitted - started, "rewriting_seconds": time.perf_counter() - fitted}
    changed = {
        name: float(np.mean([new != old for new, old in zip(rewritten[name], rows, strict=True)]))
        for name, rows in texts.items()
    }
    return rewritten, {"facts": {**rewriter.facts(), "changed": changed}, **seconds}


def make_confidences(stage: Stage, store: Store, progress: bool) -> None:
    """Score every test row with a guard."""
    from poisonsieve.guard import Guard

    params = Scored(**stage.params)

    def work(partial: Path) -> Output:
        del partial
        guard = Guard.from_pretrained(store.folder(stage.needs["guard"]))
        texts = {name: list(load(rows)["text"]) for name, rows in params.sets.items()}
        started, tables = time.perf_counter(), {}
        for name, rows in texts.items():
            scored = guard.score(rows, progress=name if progress else None)
            tables[name] = {"confidence": scored.scores, "truncated": scored.truncated}
        result = {
            "max_length": None if guard.classifier is None else guard.classifier.max_length,
            "score_range": [float(end) if np.isfinite(end) else None for end in guard.detector.score_range],
            "seconds": time.perf_counter() - started,
        }
        return lambda target: write_rows(target / ROWS_FILE, tables), result

    _run(stage, store, work)


def make_shortened(stage: Stage, store: Store, progress: bool) -> None:
    """Record the victim's answers when it reads only as far as its guard, beyond which a trigger may stand.

    The victim is not asked if the guard read every text to its end, or reads as far as the victim.
    """
    params = Scored(**stage.params)
    limit = store.run(stage.needs["confidences"])["result"]["max_length"]
    whole = store.run(stage.needs["answers"])["result"]["max_length"]
    scored = read_rows(store.folder(stage.needs["confidences"]) / ROWS_FILE)

    def work(partial: Path) -> Output:
        del partial
        if limit is None or limit >= whole or not any(rows.truncated.any() for rows in scored.values()):
            return lambda target: None, {"asked": False}
        from poisonsieve.models.load import load_classifier

        sets = {name: load(rows) for name, rows in params.sets.items()}
        texts = {name: list(rows["text"]) for name, rows in sets.items()}
        labels = {name: np.asarray(rows["label"]) for name, rows in sets.items()}
        victim = load_classifier(store.folder(stage.needs["victim"]))
        tables, seconds = _predictions(victim, texts, labels, limit, progress)
        return lambda target: write_rows(target / ROWS_FILE, tables), {"asked": True, "seconds": seconds}

    _run(stage, store, work)


def make_scores(stage: Stage, store: Store, progress: bool) -> None:
    """Combine answers and confidences, row by row."""
    del progress
    answers, confidences, shortened = (
        store.run(stage.needs[part])["result"] for part in ("answers", "confidences", "shortened")
    )

    def work(partial: Path) -> Output:
        del partial
        answered = read_rows(store.folder(stage.needs["shortened" if shortened["asked"] else "answers"]) / ROWS_FILE)
        scored = read_rows(store.folder(stage.needs["confidences"]) / ROWS_FILE)
        tables = {
            name: {**answered[name].to_dict("series"), "confidence": rows.confidence, "truncated": rows.truncated}
            for name, rows in scored.items()
        }
        result = {key: answers[key] for key in ("classes", "target", "max_length", "not_applicable")}
        result["score_range"] = confidences["score_range"]
        return lambda target: write_rows(target / ROWS_FILE, tables), result

    _run(stage, store, work)


def _predictions(
    victim: Classifier, texts: Mapping[str, list[str]], labels: Mapping[str, np.ndarray], limit: int, progress: bool
) -> tuple[dict[str, dict[str, np.ndarray]], float]:
    """Return the true classes, the answers and whether a text was truncated, by set, each (n,); and the seconds."""
    started, tables = time.perf_counter(), {}
    for name, rows in texts.items():
        logits = victim.score(rows, max_length=limit, progress=name if progress else None)
        tables[name] = {"label": labels[name], "prediction": logits.predictions, "truncated": logits.truncated}
    return tables, time.perf_counter() - started


def _run(stage: Stage, store: Store, work: Callable[[Path], Output]) -> None:
    """Run a stage whose spec is its key, which identifies everything it reads by content."""
    from poisonsieve.stages.keep import run_stage

    run_stage(store.folder(stage), {"stage": stage.kind, "key": stage.key, "params": stage.params}, work)


def _rewriter(text: str, seed: int) -> Rewriter:
    from poisonsieve.defenses import Rewriter
    from poisonsieve.defenses.specs import make_defense

    rewriter = make_defense(text, seed=seed)
    assert isinstance(rewriter, Rewriter)  # noqa: S101 - the plan says so; for the type checker
    return rewriter


def _target(sets: Mapping[str, AnyRows]) -> int | None:
    """Return the class the attacker wants; None if no set is triggered."""
    for rows in sets.values():
        plain = rows.of if isinstance(rows, Rewritten) else rows
        if isinstance(plain, Triggered):
            return target_of(plain.of, plain.target)
    return None


_WORK: dict[str, Callable[[Stage, Store, bool], None]] = {
    "theta_p": make_theta_p,
    "victim": make_victim,
    "repair": make_repair,
    "guard": make_guard,
    "rewriting": make_rewriting,
    "answers": make_answers,
    "confidences": make_confidences,
    "shortened": make_shortened,
    "scores": make_scores,
}
