"""Gamma from reviewed traffic: the quantile it should be, and every doubt on the side of the guard."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonsieve.errors import CalibrationError, CheckpointError, ConfigError
from poisonsieve.guard.folder import digest as guard_digest
from poisonsieve.serve.quarantine import Quarantine, record_of
from poisonsieve.serve.recalibrate import recalibrate, write_recalibrated
from poisonsieve.serve.tables import open_database, records
from poisonsieve.thresholds import gamma_for_frr, gamma_with_traffic
from poisonsieve.verdict import Verdict

pytest_plugins = ["serving"]

SCORES = st.lists(st.sampled_from(np.round(np.linspace(0, 1, 30), 3).tolist()), min_size=20, max_size=60)


@given(SCORES, SCORES, st.sampled_from([0.05, 0.1, 0.2]))
def test_it_is_the_quantile_over_all_clean_texts_if_that_is_above_gamma(calibration, traffic, frr):
    gamma = gamma_for_frr(calibration, frr).gamma
    above = [score for score in traffic if score > gamma]
    exact = gamma_for_frr([*calibration, *traffic], frr)
    found = gamma_with_traffic(calibration, frr, passed=len(traffic) - len(above), above=above, gamma=gamma)
    assert found.gamma == max(exact.gamma, gamma)
    assert (found.n_calibration, found.frr_interval) == (exact.n_calibration, exact.frr_interval)


def test_counts_that_contradict_gamma_are_refused():
    with pytest.raises(CalibrationError, match="damaged"):
        gamma_with_traffic(np.linspace(0, 1, 50), 0.1, passed=5, above=[0.2], gamma=0.9)


@pytest.fixture
def folder(served_guard, tmp_path):
    """A guard folder whose 200 calibration confidences are known: 0.400 to 0.599, so gamma is 0.580 at 10%."""
    made = tmp_path / "guard"
    shutil.copytree(served_guard, made)
    scores = (0.4 + np.arange(200) / 1000).tolist()
    (made / "calibration.json").write_text(json.dumps({"scores": scores}))
    state = json.loads((made / "guard.json").read_text())
    (made / "guard.json").write_text(json.dumps({**state, **gamma_for_frr(scores, 0.1).to_dict()}))
    return made


class Reviewed:
    """A quarantine that is filled with a guard's traffic."""

    def __init__(self, engine, folder):
        self.store = Quarantine(engine)
        self.digest = guard_digest(folder)
        self.gamma = json.loads((folder / "guard.json").read_text())["gamma"]

    def traffic(self, passed, false_alarms=(), poison=(), undecided=()):
        rows = []
        for decision, confidences in (("false_alarm", false_alarms), ("poison", poison), (None, undecided)):
            for confidence in confidences:
                text, confidence = (
                    confidence if isinstance(confidence, tuple) else (f"{decision} {len(rows)}", confidence)
                )
                verdict = Verdict.scored(confidence, gamma=self.gamma, flagged=True, truncated=False)
                options = {"guard_digest": self.digest, "hash_only": True, "max_chars": 9}
                rows.append(record_of(text, verdict, request_id=str(decision), index=len(rows), **options))
        counts = {"passed": passed, "poisoned": len(rows), "not_scored": 0}
        self.store.add(rows, {self.digest: counts})
        with self.store.engine.begin() as connection:
            decided = records.c.request_id
            connection.execute(records.update().where(decided != "None").values(decision=decided))


@pytest.fixture
def reviewed(folder, database):
    engine = open_database(database)
    yield Reviewed(engine, folder)
    engine.dispose()


def spread(count, low=0.59, high=0.9):
    return np.linspace(low, high, count).tolist()


def test_the_expected_false_alarms_change_nothing(folder, reviewed):
    reviewed.traffic(900, spread(100))  # 10%, as asked for
    done = recalibrate(folder, reviewed.store)
    assert (done.raised, done.after.gamma, done.rate) == (False, reviewed.gamma, 0.1)
    assert done.rate_interval[0] < 0.1 < done.rate_interval[1]


def test_more_false_alarms_than_asked_for_raise_gamma_to_the_rate(folder, reviewed):
    alarms = spread(400)
    reviewed.traffic(600, alarms)
    done = recalibrate(folder, reviewed.store)
    assert done.raised
    clean = 1000 + 200
    calibration = np.array(json.loads((folder / "calibration.json").read_text())["scores"])
    above = np.sum(calibration > done.after.gamma) + np.sum(np.array(alarms) > done.after.gamma)
    assert above == 119  # of 1,200 clean texts: one less than a tenth of 1,201, as the quantile has it
    assert done.rate == 0.4
    assert (done.after.n_calibration, done.after.frr, done.after.rule) == (clean, 0.1, "frr")
    assert 0.59 < done.after.gamma < 0.9


def test_false_alarms_alone_do_not_lift_gamma_without_end(folder, reviewed):
    reviewed.traffic(100_000, spread(400))  # 0.4% of what came: far below the rate
    assert not recalibrate(folder, reviewed.store).raised


def test_few_texts_are_no_evidence(folder, reviewed):
    reviewed.traffic(8, spread(3))  # 27%, but of 11 texts
    done = recalibrate(folder, reviewed.store)
    assert (done.raised, done.rate > 0.2, done.rate_interval[0] < 0.1) == (False, True, True)


def test_what_nobody_decided_counts_as_poison(folder, reviewed):
    reviewed.traffic(600, spread(20), undecided=spread(380))
    done = recalibrate(folder, reviewed.store)
    assert (done.raised, done.reviewed.undecided) == (False, 380)


def test_one_text_sent_many_times_counts_once(folder, reviewed):
    reviewed.traffic(600, [("the same", 0.8)] * 400)
    done = recalibrate(folder, reviewed.store)
    assert (done.raised, len(done.reviewed.false_alarms)) == (False, 1)


def test_a_text_that_is_called_both_is_not_clean(folder, reviewed):
    reviewed.traffic(600, [("both", 0.8)], poison=[("both", 0.8)])
    assert len(recalibrate(folder, reviewed.store).reviewed.false_alarms) == 0


def test_gamma_is_not_raised_over_known_poison(folder, reviewed):
    reviewed.traffic(600, spread(400), poison=[0.6, 0.95])
    with pytest.raises(CalibrationError, match="1 records judged as poison would pass"):
        recalibrate(folder, reviewed.store)


def test_gamma_is_not_raised_to_where_nothing_is_rejected(folder, reviewed):
    reviewed.traffic(600, [(str(i), 1.0) for i in range(400)])
    with pytest.raises(CalibrationError, match="no score can exceed"):
        recalibrate(folder, reviewed.store)


def test_another_guards_reviews_do_not_count(folder, reviewed):
    reviewed.traffic(600, spread(400))
    state = json.loads((folder / "guard.json").read_text())
    (folder / "guard.json").write_text(json.dumps({**state, "gamma": 0.58}))
    done = recalibrate(folder, reviewed.store)
    assert (done.raised, done.reviewed.passed, done.rate) == (False, 0, None)


def test_a_gamma_that_was_fixed_needs_a_rate(folder, reviewed):
    state = json.loads((folder / "guard.json").read_text())
    fixed = {"rule": "fixed", "frr": None, "n_calibration": None, "frr_interval": None}
    (folder / "guard.json").write_text(json.dumps({**state, **fixed}))
    with pytest.raises(ConfigError, match="--frr"):
        recalibrate(folder, reviewed.store)
    assert not recalibrate(folder, reviewed.store, frr_mean=0.1).raised


def test_no_guard_is_named(reviewed, tmp_path):
    with pytest.raises(CheckpointError, match="no guard folder"):
        recalibrate(tmp_path, reviewed.store)


def test_the_new_guard_works_and_differs_in_gamma_alone(folder, reviewed, tmp_path, guarded):
    from poisonsieve import GuardedClassifier

    reviewed.traffic(600, spread(400))
    done = recalibrate(folder, reviewed.store)
    out = tmp_path / "guard-2"
    write_recalibrated(folder, out, done)
    opened = GuardedClassifier.from_pretrained(out)
    assert opened.guard.threshold_ == done.after
    texts = ["a good film", "bad"]
    assert opened.guard.decision_function(texts) == pytest.approx(guarded.guard.decision_function(texts))
    before = json.loads((folder / "guard.json").read_text())
    after = json.loads((out / "guard.json").read_text())
    changed = {key for key in after if after[key] != before.get(key)}
    assert changed == {"gamma", "n_calibration", "frr_interval", "recalibrations"}
    assert after["recalibrations"][0]["recalibrated_from"] == reviewed.digest
    assert guard_digest(out) != reviewed.digest
    assert (out / "calibration.json").read_bytes() == (folder / "calibration.json").read_bytes()
    assert not (out / "run.json").exists()
    again = recalibrate(out, reviewed.store)  # its own traffic is yet to come
    assert (again.raised, again.rate) == (False, None)


def test_the_command(folder, tmp_path, cli):
    where = tmp_path / "q.sqlite"
    engine = open_database(str(where))
    Reviewed(engine, folder).traffic(600, spread(400))
    engine.dispose()
    code, out, err = cli("recalibrate", folder, "--db", where, "--out", tmp_path / "new", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["raised"] and said["gamma"] > said["gamma_before"] == pytest.approx(0.58)
    assert (said["passed"], said["false_alarms"], said["undecided"]) == (600, 400, 0)
    code, out, err = cli("recalibrate", folder, "--db", where, "--out", tmp_path / "new2")
    assert code == 0 and "400 false alarms" in out
    code, _, err = cli("recalibrate", folder, "--db", where, "--out", folder)
    assert (code, "would replace" in err) == (2, True)
    code, _, err = cli("recalibrate", folder, "--db", tmp_path / "none.sqlite", "--out", tmp_path / "new3")
    assert (code, err.count("\n"), "there is no quarantine" in err) == (2, 1, True)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "run.json").write_text("{}")
    code, _, err = cli("recalibrate", folder, "--db", where, "--out", tmp_path / "theirs")
    assert (code, "already exists" in err) == (2, True)
    assert (tmp_path / "theirs" / "run.json").read_text() == "{}"
    code, _, err = cli("recalibrate", folder, "--db", where, "--out", tmp_path / "theirs", "--force")
    assert code == 0 and (tmp_path / "theirs" / "guard.json").is_file()
