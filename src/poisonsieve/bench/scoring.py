"""The stages that ask models: a rewriter's work, a victim's answers, a guard's confidences, and both row by row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poisonsieve.bench.judge import ROWS_FILE, read_rows, write_rows
from poisonsieve.bench.plan import TRIGGERED, Stage
from poisonsieve.bench.rows import Rewritten, Rows, Triggered, described, load, load_counted, target_of
from poisonsieve.bench.store import Store
from poisonsieve.stages.keep import run_stage
from poisonsieve.storage import write_json

if TYPE_CHECKING:
    import pandas as pd

    from poisonsieve.guard import Guard
    from poisonsieve.models.classifier import Classifier

WORK_FILE = "work.json"
Made = tuple[Callable[[Path], None], dict[str, Any]]


def make_rewriting(stage: Stage, store: Store, progress: bool) -> None:
    """A rewriting defence's work on texts that no victim has a say in."""
    rewriter = _rewriter(stage)
    texts = list(dict.fromkeys(load(described(stage.params["rows"]))["text"]))

    def work(partial: Path) -> Made:
        del partial
        done = rewriter.prepare(texts, progress=stage.words if progress else None)
        return lambda target: write_json(target / WORK_FILE, done), {"texts": len(texts), "reads": rewriter.reads()}

    _run(stage, store, work)


def make_answers(stage: Stage, store: Store, progress: bool) -> None:
    """What a victim says of every test row, rewritten first where the defence rewrites."""
    from poisonsieve.models.load import load_classifier

    def work(partial: Path) -> Made:
        del partial
        victim = load_classifier(store.folder(stage.needs["victim"]))
        sets = {name: load_counted(described(rows)) for name, rows in stage.params["sets"].items()}
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
    rewriter.fit(load(Rows(**stage.params["dev"])), victim=victim)
    rewritten = {name: rewriter.rewrite(rows) for name, rows in texts.items()}
    changed = {
        name: float(np.mean([new != old for new, old in zip(rewritten[name], rows, strict=True)]))
        for name, rows in texts.items()
    }
    return rewritten, {**rewriter.facts(), "changed": changed}


def make_confidences(stage: Stage, store: Store, progress: bool) -> None:
    """A guard's score of every test row."""
    from poisonsieve.guard import Guard

    def work(partial: Path) -> Made:
        del partial
        guard = Guard.from_pretrained(store.folder(stage.needs["guard"]))
        tables = {}
        for name, rows in stage.params["sets"].items():
            scored = guard.score(list(load(described(rows))["text"]), progress=name if progress else None)
            tables[name] = {"confidence": scored.scores, "truncated": scored.truncated}
        result = {"max_length": _limit(guard), "score_range": [_finite(end) for end in guard.detector.score_range]}
        return lambda target: write_rows(target / ROWS_FILE, tables), result

    _run(stage, store, work)


def make_scores(stage: Stage, store: Store, progress: bool) -> None:
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
    sets = {name: load(described(rows)) for name, rows in stage.params["sets"].items()}
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
            triggered = described(rows)
            triggered = triggered.of if isinstance(triggered, Rewritten) else triggered
            assert isinstance(triggered, Triggered)  # noqa: S101 - that is what a triggered set is
            return target_of(triggered.of, triggered.target)
    return None


def _limit(guard: Guard) -> int | None:
    return None if guard.classifier is None else guard.classifier.max_length


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
