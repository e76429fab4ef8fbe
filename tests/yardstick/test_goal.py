"""The headline is computed from cells by one function: known cells, known shares."""

from __future__ import annotations

from typing import Any

import pytest

from poisonsieve.bench.results import TOOK
from poisonsieve.yardstick.goal import goal_of, judged_cells
from poisonsieve.yardstick.table import goal_markdown

ATTACKS: dict[str, dict[str, Any]] = {
    "normal": {"clean": True, "clean_label": True, "poisoning": "full", "family": None},
    "BadNet": {"clean": False, "clean_label": True, "poisoning": "full", "family": "word"},
    "InSent dirty": {"clean": False, "clean_label": False, "poisoning": "full", "family": "sentence"},
    "smoothed": {"clean": False, "clean_label": True, "poisoning": "low-confidence", "family": "word"},
}


def cell(
    attack: str, defense: str, *, asr: float = 1.0, ca: float = 0.9, dev_asr: float | None = 1.0, **axes: Any
) -> dict[str, Any]:
    metrics: dict[str, Any] = {"ca": ca, "accuracy_lost": {"value": 0.9 - ca}}
    if attack == "normal":
        metrics["floor"] = {name: 0.1 for name in ATTACKS if name != "normal"}
    else:
        metrics["asr"] = asr
    return {
        "dataset": "d",
        "model": "m",
        "attack": attack,
        "defense": defense,
        "victim": "lora",
        "seed": 0,
        "status": "done",
        "metrics": metrics,
        "variant": None,
        "theta_p": {"dev_asr": dev_asr, "took": None if dev_asr is None else dev_asr >= TOOK},
        "stages": [
            {"kind": "answers", "result": {"classes": ["0", "1"]}},
        ],
        **axes,
    }


def record(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"title": "t", "grid": {"attacks": ATTACKS}, "cells": list(cells)}


def share(goal: Any, *group: str) -> Any:
    shares = [*goal.defenses, *(entry for part in goal.parts.values() for entry in part)]
    return next(entry for entry in shares if entry.group == group)


def test_a_cell_is_within_the_goal_to_the_very_point() -> None:
    found = record(
        cell("normal", "none"),
        cell("BadNet", "none", ca=0.90),
        cell("BadNet", "just", asr=0.11, ca=0.89),  # one point above the floor of 0.1, one point of CA
        cell("BadNet", "leaky", asr=0.112, ca=0.90),
        cell("BadNet", "dear", asr=0.0, ca=0.888),
    )
    cells, missing = judged_cells(found)
    assert missing == 0
    assert [(entry.defense, entry.reached) for entry in cells] == [("just", True), ("leaky", False), ("dear", False)]
    assert cells[2].excess == 0, "below the floor is on it"


def test_what_did_not_take_is_named_and_not_counted() -> None:
    goal = goal_of(
        [
            record(
                cell("normal", "none"),
                cell("BadNet", "none"),
                cell("BadNet", "psim", asr=0.1),
                cell("InSent dirty", "none", dev_asr=0.94),
                cell("InSent dirty", "psim", asr=0.9, dev_asr=0.94),
                cell("smoothed", "none", dev_asr=None),
                cell("smoothed", "psim", asr=0.9, dev_asr=None),
            )
        ]
    )
    assert share(goal, "psim").cells == 1
    assert share(goal, "psim").share == 1.0
    assert [(entry["attack"], entry["dev_asr"]) for entry in goal.not_taken] == [
        ("InSent dirty", 0.94),
        ("smoothed", None),
    ]


def test_shares_by_defence_family_label_mode_and_victim() -> None:
    cells = [cell("normal", "none"), cell("normal", "none", victim="full")]
    for victim in ("lora", "full"):
        for attack, asr in (("BadNet", 0.0), ("InSent dirty", 0.0), ("smoothed", 1.0)):
            cells += [cell(attack, "none", victim=victim), cell(attack, "psim", asr=asr, victim=victim)]
    goal = goal_of([record(*cells)])
    assert share(goal, "psim").share == pytest.approx(4 / 6)
    assert share(goal, "psim", "word").share == 0.5
    assert share(goal, "psim", "sentence").share == 1.0
    assert share(goal, "psim", "smoothed").share == 0.0
    assert share(goal, "psim", "dirty-label").share == 1.0
    assert share(goal, "psim", "full").cells == 3


def test_a_floor_is_that_of_the_same_model_victim_and_seed() -> None:
    found = record(cell("normal", "none", seed=1), cell("BadNet", "none"), cell("BadNet", "psim", asr=0.0))
    cells, missing = judged_cells(found)
    assert (cells, missing) == ([], 1)
    assert goal_of([found]).without_floor == 1


def test_the_interval_draws_poisoned_models_and_not_their_victims() -> None:
    """Ten victims of one theta_p are one piece of evidence; ten seeds are ten."""

    def grid(victims: int, seeds: int) -> dict[str, Any]:
        cells = []
        for seed in range(seeds):
            for victim in map(str, range(victims)):
                place = {"seed": seed, "victim": victim}
                good = seed % 2 == 0 if seeds > 1 else int(victim) % 2 == 0
                cells += [cell("normal", "none", **place), cell("BadNet", "none", **place)]
                cells.append(cell("BadNet", "psim", asr=0.0 if good else 1.0, **place))
        return record(*cells)

    one_model = share(goal_of([grid(victims=10, seeds=1)]), "psim")
    ten_models = share(goal_of([grid(victims=1, seeds=10)]), "psim")
    assert one_model.share == ten_models.share == 0.5
    assert (one_model.low, one_model.high) == (0.5, 0.5), "resampling one model gives it again"
    assert ten_models.low < 0.4 < 0.6 < ten_models.high
    assert share(goal_of([grid(victims=1, seeds=10)]), "psim") == ten_models, "the same figures each time"


def test_the_table_has_the_headline_its_parts_and_what_did_not_take() -> None:
    text = goal_markdown(
        goal_of(
            [
                record(
                    cell("normal", "none"),
                    *(cell(attack, "none") for attack in ("BadNet", "smoothed")),
                    cell("BadNet", "psim", asr=0.1, ca=0.896),
                    cell("smoothed", "psim", asr=0.5),
                    cell("InSent dirty", "none"),
                    cell("InSent dirty", "psim", dev_asr=0.6),
                )
            ]
        )
    )
    headline = next(line for line in text.splitlines() if line.startswith("| PSIM"))
    assert [part.strip() for part in headline.split("|")[2:-1]] == ["50%", "0% to 100%", "2", "20.0", "0.2"]
    assert "By label mode" in text
    assert "By model" not in text, "one model is no part of the grid"
    assert "60.0" in text.split("Did not take")[1]
