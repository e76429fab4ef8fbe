"""What a reviewer and a watcher see over HTTP, on both databases."""

import time

import pytest
from serving import make_database, serving, wait_for

pytest_plugins = ["serving"]


@pytest.fixture
def served(guarded, served_guard, database):
    with serving(guarded, database, recent_texts=50, drift_min_texts=20) as running:
        yield running


def metrics(served):
    lines = served.http.get("/metrics").text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_a_rejected_text_is_found_decided_and_counted(served, guarded, texts):
    sent = [*texts["passed"][:3], *texts["rejected"][:4]]
    answer = served.http.post("/v1/screen", json={"texts": sent}).json()
    listed = served.http.get("/v1/quarantine").json()
    assert (listed["total"], listed["page"], listed["size"]) == (4, 1, 50)
    assert [item["text"] for item in reversed(listed["items"])] == texts["rejected"][:4]
    assert [item["text_index"] for item in reversed(listed["items"])] == [3, 4, 5, 6]
    for item, verdict in zip(reversed(listed["items"]), answer["verdicts"][3:], strict=True):
        assert item["confidence"] == verdict["confidence"]
        assert (item["outcome"], item["cause"]) == ("poisoned", "above_gamma")
        assert (item["gamma"], item["reason"], item["request_id"]) == (
            answer["gamma"],
            "poisoned",
            answer["request_id"],
        )
        assert item["guard_digest"] == served.http.get("/v1/guard").json()["guard_digest"]
    number = listed["items"][0]["id"]
    decided = served.http.post(f"/v1/quarantine/{number}/decision", json={"decision": "false_alarm", "note": "fine"})
    assert decided.json() == served.http.get(f"/v1/quarantine/{number}").json()
    assert (decided.json()["decision"], decided.json()["note"]) == ("false_alarm", "fine")
    for which, total in (("open", 3), ("false_alarm", 1), ("poison", 0), ("all", 4)):
        assert served.http.get("/v1/quarantine", params={"decision": which}).json()["total"] == total
    found = served.http.get("/v1/quarantine", params={"q": texts["rejected"][1].upper(), "decision": "all"}).json()
    assert texts["rejected"][1] in [item["text"] for item in found["items"]]
    second = served.http.get("/v1/quarantine", params={"page": 2, "size": 1, "decision": "all"}).json()
    assert [item["text"] for item in second["items"]] == [texts["rejected"][2]]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/quarantine/7", None, 404),
        ("/v1/quarantine/7/decision", {"decision": "poison"}, 404),
        ("/v1/quarantine/0", None, 422),
        ("/v1/quarantine/9223372036854775808", None, 422),
        ("/v1/quarantine/9223372036854775807", None, 404),
        ("/v1/quarantine/one", None, 422),
        ("/v1/quarantine?page=0", None, 422),
        ("/v1/quarantine?page=1000000&size=200", None, 200),
        ("/v1/quarantine?size=201", None, 422),
        ("/v1/quarantine?decision=maybe", None, 422),
        ("/v1/quarantine?decision=open&decision=poison", None, 422),
        ("/v1/quarantine?q=a&page=1&q=a", None, 422),
        ("/v1/quarantine?q=%00%ff%25", None, 200),
        ("/v1/quarantine/1/decision", {"decision": "maybe"}, 422),
        ("/v1/quarantine/1/decision", {"note": "x"}, 422),
        ("/v1/quarantine/1/decision", {"decision": None, "note": 7}, 422),
        ("/v1/quarantine/1/decision", {"decision": None, "note": "a\0b"}, 422),
        ("/v1/quarantine/1/decision", {"decision": None, "note": "x" * 2001}, 422),
        ("/v1/quarantine/1/decision", ["poison"], 422),
        ("/v1/quarantine/1/decision", {"decision": ["poison"]}, 422),
        ("/v1/quarantine/1/decision", {"decision": {}}, 422),
    ],
)
def test_what_cannot_be_is_refused(path, body, status, served):
    answer = served.http.get(path) if body is None else served.http.post(path, json=body)
    assert answer.status_code == status, answer.text


def test_counts_confidences_and_drift_are_seen(served, texts):
    quiet = served.http.get("/v1/stats").json()
    assert (quiet["passed"], quiet["poisoned"], quiet["not_scored"]) == (0, 0, 0)
    assert quiet["drift"]["drifted"] is None
    sent = texts["passed"][:20] + texts["rejected"][:5]
    served.http.post("/v1/screen", json={"texts": sent})
    served.http.post("/v1/screen", content=b'{"text": "\\ud800"}', headers={"Content-Type": "application/json"})
    served.http.post("/v1/explain", json={"text": texts["passed"][0]})  # is no traffic
    time.sleep(1.1)
    stats = served.http.get("/v1/stats").json()
    assert (stats["passed"], stats["poisoned"], stats["not_scored"]) == (20, 5, 1)
    assert (stats["rejected"], stats["unscorable"]) == (5, 1)  # as the version before has it
    assert sum(stats["recent"]["counts_passed"]) == 20
    assert sum(stats["recent"]["counts_rejected"]) == 5
    assert len(stats["recent"]["edges"]) == len(stats["recent"]["counts_passed"]) + 1
    assert (stats["drift"]["recent_texts"], stats["drift"]["calibration_rows"]) == (25, 120)
    assert 0 <= stats["drift"]["ks"] <= 1 and stats["drift"]["bar"] > 0
    seen = metrics(served)
    assert seen['poisonsieve_texts_total{cause="",outcome="passed"}'] == 20
    assert seen['poisonsieve_texts_total{cause="above_gamma",outcome="poisoned"}'] == 5
    assert seen['poisonsieve_texts_total{cause="tokenizer",outcome="not_scored"}'] == 1
    assert seen['poisonsieve_texts_total{cause="victim",outcome="not_scored"}'] == 0
    # As the version before has them:
    assert seen['poisonsieve_verdicts_total{verdict="passed"}'] == 20
    assert seen['poisonsieve_verdicts_total{verdict="rejected"}'] == 5
    assert seen['poisonsieve_unscorable_total{kind="tokenizer"}'] == 1
    assert seen["poisonsieve_confidence_count"] == 25
    assert seen["poisonsieve_drift_ks"] == stats["drift"]["ks"]
    assert seen["poisonsieve_quarantine_records_total"] == 6
    assert seen["poisonsieve_queue_texts"] == 0
    assert seen['poisonsieve_requests_total{code="200",route="/v1/screen"}'] == 2
    assert seen["poisonsieve_ready"] == seen["poisonsieve_quarantine_up"] == 1


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json"])
def test_who_watches_may_ask_for_the_head_alone(path, served):
    whole, head = served.http.get(path), served.http.head(path)
    assert head.status_code == whole.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == whole.headers["content-type"]
    described = served.http.get("/openapi.json").json()["paths"]
    assert all("head" not in operations for operations in described.values())


def test_the_words_a_confidence_rests_on(served, guarded, texts):
    text = texts["rejected"][0]
    words = text.split()
    said = served.http.post("/v1/explain", json={"text": text}).json()
    assert [each["word"] for each in said["words"]] == words
    without = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    expected = [verdict.confidence for verdict in guarded.judge([text, *without])]
    assert said["confidence"] == pytest.approx(expected[0], abs=1e-6)
    for each, confidence in zip(said["words"], expected[1:], strict=True):
        assert each["confidence_without"] == pytest.approx(confidence, abs=1e-6)
        assert each["effect"] == pytest.approx(expected[0] - confidence, abs=1e-6)
    assert served.http.get("/v1/quarantine", params={"decision": "all"}).json()["total"] == 0
    many = served.http.post("/v1/explain", json={"text": "film " * 100}).json()
    assert (len(many["words"]), many["truncated"]) == (64, True)


def test_hashes_alone(guarded, served_guard, texts, request, tmp_path):
    with serving(guarded, make_database(request, "sqlite", tmp_path), hash_only=True) as served:
        served.http.post("/v1/screen", json={"text": texts["rejected"][0]})
        (item,) = served.http.get("/v1/quarantine").json()["items"]
        assert item["text"] is None
        assert len(item["text_sha256"]) == 64


def test_old_records_go_while_it_runs(guarded, served_guard, texts, database):
    limits = {"quarantine_max_records": 5, "retention_interval_s": 0.1}
    with serving(guarded, database, **limits) as served:
        for _ in range(4):
            served.http.post("/v1/screen", json={"texts": texts["rejected"][:4]})

        def total():
            return served.http.get("/v1/quarantine").json()["total"]

        wait_for(lambda: total() == 5)
        assert metrics(served)["poisonsieve_quarantine_deleted_total"] == 11


def test_two_replicas_share_one_database(guarded, served_guard, texts, postgres):
    from poisonsieve.guard.folder import digest as guard_digest

    where = postgres.database()
    with serving(guarded, where) as one, serving(guarded, where) as two:
        for served in (one, two):
            served.http.post("/v1/screen", json={"texts": [*texts["passed"][:7], texts["rejected"][0]]})
        items = one.http.get("/v1/quarantine").json()
        assert items == two.http.get("/v1/quarantine").json()
        assert items["total"] == 2
        one.http.post(f"/v1/quarantine/{items['items'][0]['id']}/decision", json={"decision": "poison"})
        assert two.http.get("/v1/quarantine").json()["total"] == 1
        wait_for(lambda: one.service.quarantine.passed(guard_digest(served_guard)) == 14)
