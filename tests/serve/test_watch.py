"""The watch over the traffic: a campaign raises the alarm and what had passed of it is flagged; clean traffic does not."""

import hashlib
import json

import numpy as np
import pytest
from serving import make_database, serving, wait_for
from watching import EAGER, campaign, send, watched

from poisonsieve.errors import ConfigError
from poisonsieve.guard.traffic import FEWEST_TEXTS, MOST_TEXTS
from poisonsieve.serve.client import Client
from poisonsieve.serve.settings import ServeSettings, make_settings
from poisonsieve.serve.watch import TrafficWatch, permutations_of

pytest_plugins = ["serving", "watching"]


@pytest.fixture
def sqlite(request, tmp_path):
    return make_database(request, "sqlite", tmp_path)


def metric(served, name):
    lines = served.http.get("/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def records(served, **query):
    return served.http.get("/v1/quarantine", params={"size": 200, **query}).raise_for_status().json()["items"]


def test_a_campaign_raises_the_alarm_and_what_had_passed_is_flagged(blind, clean, database, caplog):
    texts = campaign(clean)
    with serving(blind, database, **EAGER, watch_keep_texts=True) as served:
        ids = send(served, texts)
        wait_for(lambda: watched(served)["flagged"])
        found = watched(served)
        assert (found["state"], found["last"]["finding"]) == ("alarm", "campaign")
        assert found["last"]["p_value"] <= found["level"] == 0.01
        assert found["last"]["passed"] == found["last"]["flagged"] == len(found["flagged"])
        assert {each["id"] for each in found["last"]["driving"]} <= set(found["flagged"])
        flagged = records(served, cause="traffic")
        assert sorted(each["id"] for each in flagged) == sorted(found["flagged"])
        triggered = [each for each in flagged if each["text"].endswith(" mn")]
        assert len(triggered) / 40 > 0.5
        assert (len(flagged) - len(triggered)) / 160 < 0.05
        assert all(texts[50 * ids.index(each["request_id"]) + each["text_index"]] == each["text"] for each in flagged)
        assert {each["outcome"] for each in flagged} == {"poisoned"}
        assert all("passed at" in each["reason"] for each in flagged)
        assert (metric(served, "poisonsieve_watch_alarm"), metric(served, "poisonsieve_watch_alarms_total")) == (1, 1)
        assert metric(served, "poisonsieve_watch_flagged_total") == len(flagged)
        with Client(served.url) as client:
            assert client.watch()["flagged"] == found["flagged"]
            assert client.quarantine(cause="traffic", size=1)["total"] == len(flagged)
            assert sorted(client.decide_all(found["flagged"], "poison")) == sorted(found["flagged"])
            assert client.watch()["flagged"] == []
    with serving(blind, database, **EAGER) as again:
        assert watched(again)["state"] == "gathering", "what the process knew of the texts is gone"
        assert len(records(again, decision="poison", cause="traffic")) == len(flagged), "the flags are not"
    assert "ALARM" in caplog.text
    assert not any(text in caplog.text for text in texts)


def test_by_default_flags_name_ids_and_no_text_is_kept(blind, clean, sqlite, tmp_path):
    texts = campaign(clean)
    with serving(blind, sqlite, **EAGER) as served:
        send(served, texts)
        wait_for(lambda: watched(served)["flagged"])
        flagged = records(served, cause="traffic")
        hashes = {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}
        assert all(each["text"] is None for each in flagged)
        assert {hashes[each["text_sha256"]] for each in flagged} <= set(texts)
        assert all(each["text_chars"] == len(hashes[each["text_sha256"]]) for each in flagged)
        assert all(each.text is None for each in served.service.watch._window.texts())
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("*.sqlite*"))
    assert not any(text.encode() in stored for text in texts if len(text) > 20)


def test_clean_traffic_is_quiet_and_nothing_is_flagged(blind, clean, sqlite):
    with serving(blind, sqlite, **EAGER) as served:
        assert watched(served)["state"] == "gathering"
        send(served, clean)
        wait_for(lambda: watched(served)["checks"] and watched(served)["last"]["texts"] == len(clean))
        found = watched(served)
        assert (found["state"], found["last"]["finding"], found["flagged"]) == ("quiet", "alike", [])
        assert served.http.get("/v1/stats").json()["watch_checks"] == found["checks"]
        assert metric(served, "poisonsieve_watch_alarm") == 0


def test_the_alarm_ends_when_the_traffic_is_clean_again_and_no_text_is_flagged_twice(blind, clean, sqlite):
    with serving(blind, sqlite, **EAGER, watch_texts=200) as served:
        send(served, campaign(clean))
        wait_for(lambda: watched(served)["flagged"])
        before = watched(served)
        send(served, clean[200:])
        wait_for(lambda: watched(served)["checks"] > before["checks"])
        hashes = [each["text_sha256"] for each in records(served, cause="traffic")]
        assert len(hashes) == len(set(hashes))
        send(served, [f"a {text}" for text in clean[:200]])
        send(served, clean[:200])
        wait_for(lambda: watched(served)["state"] == "quiet")
        assert watched(served)["alarm_since"] is None


def test_no_request_costs_another_pass(blind, clean, sqlite, monkeypatch):
    network, rows = blind.guard.classifier, []
    run = network.run

    def counted(attention_mask, **given):
        rows.append(len(attention_mask))
        return run(attention_mask, **given)

    monkeypatch.setattr(network, "run", counted)
    with serving(blind, sqlite, **EAGER) as served:
        rows.clear()
        send(served, clean[:100])
        assert sum(rows) == 100
        assert served.service.watch.texts == 100


def test_verdicts_are_those_without_the_watch(blind, clean, request, tmp_path):
    texts, answers = [*campaign(clean), "", "\ud800"], []
    for number, settings in enumerate(({"watch": False}, EAGER)):
        (tmp_path / str(number)).mkdir()
        database = make_database(request, "sqlite", tmp_path / str(number))
        with serving(blind, database, **settings) as served:
            body = json.dumps({"texts": texts})
            headers = {"Content-Type": "application/json"}
            answers.append(served.http.post("/v1/screen", content=body, headers=headers).json()["verdicts"])
    np.testing.assert_allclose(*([each["confidence"] or 0 for each in answer] for answer in answers), atol=1e-6)
    assert [each["outcome"] for each in answers[0]] == [each["outcome"] for each in answers[1]]


def test_explaining_a_text_is_no_traffic(blind, sqlite):
    with serving(blind, sqlite, **EAGER) as served:
        served.http.post("/v1/explain", json={"text": "a fine film"}).raise_for_status()
        assert served.service.watch.texts == 0


def test_what_could_not_be_recorded_is_flagged_by_a_later_check(blind, clean, sqlite, monkeypatch):
    with serving(blind, sqlite, **EAGER) as served:
        real, failing = served.service.watch._record, [True]

        async def record(rows):
            if failing[0]:
                raise TimeoutError
            await real(rows)

        monkeypatch.setattr(served.service.watch, "_record", record)
        send(served, campaign(clean))
        wait_for(lambda: watched(served)["state"] == "alarm")
        assert watched(served)["flagged"] == []
        failing[0] = False
        send(served, [f"a {text}" for text in clean[:100]])
        wait_for(lambda: watched(served)["flagged"])


def test_a_guard_without_states_is_not_watched_and_says_why(blind, sqlite, monkeypatch):
    monkeypatch.setattr(blind.guard, "reference_", None)
    with serving(blind, sqlite, **EAGER) as served:
        send(served, ["a fine film"])
        found = watched(served)
        assert (found["state"], found["last"]) == ("off", None)
        assert "fit it again" in found["off"]


def test_a_check_is_as_strict_as_the_rate_of_false_alarms_asks(blind):
    def watch(**settings):
        return TrafficWatch(blind.guard, make_settings(**settings), None, None, guard_digest="")

    usual = watch()
    assert usual.level * 24 * 6 * 30 == pytest.approx(1), "every ten minutes for thirty days: one false alarm"
    assert usual.level * (permutations_of(usual.level) + 1) >= 2, "a p-value can be that low"
    assert watch(watch_false_alarm_days=90).level == pytest.approx(usual.level / 3)
    assert watch(watch_interval_s=86400).level == 0.01
    assert watch(watch=False).off == "the setting watch is off"


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError, match="hash_only"):
        make_settings(hash_only=True, watch_keep_texts=True)
    with pytest.raises(ConfigError, match="watch_min_texts"):
        make_settings(watch_texts=100, watch_min_texts=200)
    for wrong in (FEWEST_TEXTS - 1, MOST_TEXTS + 1):
        with pytest.raises(ConfigError, match="watch_texts"):
            make_settings(watch_texts=wrong)
    assert ServeSettings(watch_texts=MOST_TEXTS, watch_min_texts=FEWEST_TEXTS).watch


def test_a_check_that_fails_does_not_end_the_watch(blind, clean, sqlite, monkeypatch, caplog):
    with serving(blind, sqlite, **EAGER) as served:
        watch, real, calls = served.service.watch, served.service.watch._compare, []

        def compare(seen):
            calls.append(len(seen))
            if len(calls) == 1:
                raise MemoryError
            return real(seen)

        monkeypatch.setattr(watch, "_compare", compare)
        send(served, clean[:150])
        wait_for(lambda: calls)
        send(served, clean[150:])
        wait_for(lambda: watched(served)["checks"])
    assert "a check of the traffic failed: MemoryError" in caplog.text
