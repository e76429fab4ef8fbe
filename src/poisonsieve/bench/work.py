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

import os
from collections.abc import Callable

from poisonsieve.bench import making, scoring
from poisonsieve.bench.launch import launch
from poisonsieve.bench.plan import Stage
from poisonsieve.bench.spec import How
from poisonsieve.bench.store import Store

#: Kinds that train a model, and so can be done by several processes together.
TRAINING = frozenset({"theta_p", "repair", "victim", "guard"})


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
    from poisonsieve.tuning.trainer import tracked_by

    os.environ["TENSORBOARD_LOGGING_DIR"] = str(store.root / "tracking" / store.folder(stage).name)
    with tracked_by(how.report_to, f"{stage.kind} {stage.words}"):
        _DO[stage.kind](stage, store, how.progress)


_DO: dict[str, Callable[[Stage, Store, bool], None]] = {
    "theta_p": making.make_theta_p,
    "victim": making.make_victim,
    "repair": making.make_repair,
    "guard": making.make_guard,
    "rewriting": scoring.make_rewriting,
    "answers": scoring.make_answers,
    "confidences": scoring.make_confidences,
    "scores": scoring.make_scores,
}
