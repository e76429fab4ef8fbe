from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonsieve.errors import DataError
from poisonsieve.metrics import (
    accuracy_lost,
    attack_success_rate,
    auroc,
    clean_accuracy,
    detection_rate,
    evaluate_guard,
    false_acceptance_rate,
    false_rejection_rate,
)
from poisonsieve.thresholds import is_flagged

PAGE = Path(__file__).parents[1] / "docs" / "design" / "0001-metrics.md"


def table_rows(first_column: str) -> list[list[str]]:
    """The body of the design page's table whose header starts with `first_column`."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    body = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        body.append([cell.strip() for cell in line.strip("|").split("|")])
    return body


def columns(kind: str) -> dict[str, np.ndarray]:
    rows = [row for row in table_rows("row") if row[0].startswith(kind)]
    return {
        "labels": np.array([int(row[1]) for row in rows]),
        "predictions": np.array([int(row[2]) for row in rows]),
        "scores": np.array([float(row[3]) for row in rows]),
        "rejected": np.array([row[4] == "yes" for row in rows]),
    }


def example(**changes):
    clean, triggered = columns("c"), columns("t")
    arrays = {f"clean_{name}": values for name, values in clean.items()}
    arrays |= {f"triggered_{name}": values for name, values in triggered.items()}
    return evaluate_guard(**(arrays | {"target": 0, "gamma": 0.9} | changes))


def test_design_page_flags_what_the_operator_flags():
    for kind in "ct":
        rows = columns(kind)
        assert is_flagged(rows["scores"], 0.9).tolist() == rows["rejected"].tolist()


@pytest.mark.parametrize("row", table_rows("rate"), ids=lambda row: row[0])
def test_design_page_rates(row):
    name, count, n, value = row
    evaluation = example()
    assert getattr(evaluation, name) == pytest.approx(float(value))
    assert (evaluation.intervals[name].count, evaluation.intervals[name].n) == (int(count), int(n))


def test_design_page_auroc_and_interval():
    evaluation = example()
    assert evaluation.auroc == pytest.approx(0.825)
    interval = evaluation.intervals["guarded_asr"]
    assert f"{interval.low:.3f} to {interval.high:.3f}" in PAGE.read_text(encoding="utf-8")
    assert (evaluation.n_clean, evaluation.n_triggered) == (5, 4)


def test_to_dict_is_strict_json_with_an_interval_for_each_rate():
    values = json.loads(json.dumps(example().to_dict(), allow_nan=False))
    rates = {"ca", "asr", "guarded_ca", "guarded_asr", "ca_lost", "frr", "detection_rate", "far"}
    assert set(values) == rates | {"auroc", "gamma", "n_clean", "n_triggered", "intervals"}
    assert set(values["intervals"]) == rates
    for name, interval in values["intervals"].items():
        assert interval["low"] <= values[name] <= interval["high"]


def test_rejected_clean_rows_count_as_wrong_over_all_rows():
    predictions = labels = [0, 1, 1, 0]
    assert clean_accuracy(predictions, labels).value == 1.0
    guarded = clean_accuracy(predictions, labels, [True, False, False, False])
    assert (guarded.count, guarded.n) == (3, 4)
    assert clean_accuracy([1, 1], [0, 1], [True, False]).value == 0.5  # wrong and rejected is wrong once


def test_third_class_is_wrong_but_no_attack_success():
    assert attack_success_rate([0, 2, 2, 1], [1, 1, 1, 1], target=0).value == 0.25


def test_target_rows_count_nowhere():
    labels, predictions = [0, 0, 1, 1], [0, 0, 0, 1]
    assert attack_success_rate(predictions, labels, 0).n == 2
    assert attack_success_rate(predictions, labels, 0).count == 1
    assert detection_rate([True, True, False, False], labels, 0).value == 0.0
    assert false_acceptance_rate([True, True, False, True], labels, 0).value == 0.5


@pytest.mark.parametrize("rate", [attack_success_rate, lambda rows, labels, target: detection_rate([True], [0], 0)])
def test_only_target_rows_is_an_error(rate):
    with pytest.raises(DataError, match="other than the target 0"):
        rate([0], [0], 0)


def test_wilson_interval_matches_published_value():
    # Wilson interval of 0 of 10 has the closed form z^2 / (n + z^2) as its upper end.
    rate = false_rejection_rate([False] * 10)
    assert (rate.value, rate.low) == (0.0, 0.0)
    assert rate.high == pytest.approx(1.959964**2 / (10 + 1.959964**2), abs=1e-6)
    assert float(false_rejection_rate([True, False])) == 0.5


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_intervals_hold_their_value(rejected):
    rate = false_rejection_rate(rejected)
    assert 0.0 <= rate.low <= rate.value <= rate.high <= 1.0
    assert rate.high - rate.low > 0


@given(st.data())
def test_guard_never_raises_either_accuracy_or_attack_success(data):
    n = data.draw(st.integers(1, 30))
    labels, predictions = (data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)) for _ in range(2))
    rejected = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    assert clean_accuracy(predictions, labels, rejected).value <= clean_accuracy(predictions, labels).value
    labels[0] = 1
    guarded = attack_success_rate(predictions, labels, 0, rejected).value
    assert guarded <= attack_success_rate(predictions, labels, 0).value
    assert guarded <= false_acceptance_rate(rejected, labels, 0).value


def test_auroc_of_known_cases():
    assert auroc([0.1, 0.2], [0.3, 0.4]) == 1.0
    assert auroc([0.3, 0.4], [0.1, 0.2]) == 0.0
    assert auroc([0.5, 0.5, 0.5], [0.5]) == 0.5
    assert auroc([1, 2], [3]) == 1.0


@pytest.mark.parametrize("unscored", [math.nan, math.inf, -math.inf])
def test_unscored_rows_rank_as_most_suspicious(unscored):
    assert auroc([0.1, 0.999], [unscored]) == 1.0
    assert auroc([unscored], [0.999]) == 0.0
    assert auroc([unscored], [math.nan]) == 0.5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_auroc_counts_pairs(clean, triggered):
    pairs = [(t > c) + (t == c) / 2 for c in clean for t in triggered]
    assert auroc(clean, triggered) == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize(("clean", "triggered", "missing"), [([], [0.5], "clean"), ([0.5], [], "triggered")])
def test_auroc_without_a_group_says_which(clean, triggered, missing):
    with pytest.raises(DataError, match=f"no {missing} rows"):
        auroc(clean, triggered)


def test_accuracy_lost_counts_both_ways():
    labels = [1] * 100
    before, after = [1] * 90 + [0] * 10, [1] * 82 + [0] * 13 + [1] * 5
    lost = accuracy_lost(before, after, labels)
    assert (lost.lost, lost.gained, lost.n) == (8, 5, 100)
    assert lost.value == pytest.approx(0.03)
    assert lost.low < 0 < lost.value < lost.high


def test_accuracy_lost_keeps_the_pairing():
    labels, before = [1] * 100, [1] * 50 + [0] * 50
    same_rows = accuracy_lost(before, [1] * 48 + [0] * 52, labels)
    other_rows = accuracy_lost(before, [0] * 50 + [1] * 48 + [0] * 2, labels)
    assert same_rows.value == pytest.approx(other_rows.value)
    assert same_rows.high - same_rows.low < (other_rows.high - other_rows.low) / 2


def test_accuracy_lost_interval_covers():
    rng = np.random.default_rng(0)
    labels, covered = np.ones(150, int), 0
    for _ in range(400):
        draw = rng.random(150)  # 6% lost, 2% gained, so the truth is 0.04
        before, after = (draw >= 0.02).astype(int), ((draw < 0.02) | (draw >= 0.08)).astype(int)
        lost = accuracy_lost(before, after, labels)
        covered += lost.low <= 0.04 <= lost.high
    assert covered / 400 >= 0.92


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clean_scores": np.zeros(4)}, "clean_scores has 4 rows and the labels have 5"),
        ({"triggered_rejected": np.zeros(3, bool)}, "triggered_rejected has 3 rows"),
        ({"clean_rejected": np.zeros(5, int)}, "clean_rejected holds int64; give booleans"),
        ({"clean_predictions": np.zeros(5)}, "clean_predictions holds float64; give whole numbers"),
        ({"clean_labels": np.zeros((5, 1), int)}, r"clean_labels has shape \(5, 1\)"),
        ({"triggered_labels": np.zeros(5, int)}, "other than the target 0"),
        ({"gamma": math.nan}, "gamma is nan"),
    ],
)
def test_bad_arrays_are_named(changes, message):
    with pytest.raises(DataError, match=message):
        example(**changes)


def test_no_rows_is_an_error():
    for count in (
        lambda: clean_accuracy([], []),
        lambda: false_rejection_rate([]),
        lambda: accuracy_lost([], [], []),
    ):
        with pytest.raises(DataError, match="no clean rows"):
            count()
