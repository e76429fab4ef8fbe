"""What rejected texts have in common, and deciding them together, on both databases."""

import sqlite3

import pytest
from serving import make_database, serving

from conftest import sentences
from poisonsieve.serve.client import Client

pytest_plugins = ["serving"]


@pytest.fixture(scope="module")
def planted(planted_guard):
    from poisonsieve import GuardedClassifier

    return GuardedClassifier.from_pretrained(planted_guard, None)


def send(served, seed=6):
    """Texts that pass and texts that do not."""
    clean = [text for text, _ in sentences(80, seed=seed)]
    for texts in (clean, [f"{text} mn" for text, _ in sentences(12, seed=seed + 1)]):
        served.http.post("/v1/screen", json={"texts": texts}).raise_for_status()


@pytest.fixture
def served(planted, database):
    with serving(planted, database) as running:
        send(running)
        yield running


def groups(served):
    return served.http.get("/v1/quarantine/groups").raise_for_status().json()


def decide(served, ids, decision, was):
    body = {"ids": ids, "decision": decision, "was": was}
    return served.http.post("/v1/quarantine/decisions", json=body).raise_for_status().json()["changed"]


def test_a_group_is_found_listed_decided_and_opened_again(served):
    records = served.http.get("/v1/quarantine", params={"size": 200}).json()["items"]
    having = [record["id"] for record in records if record["text"].endswith(" mn")]
    (group,) = groups(served)["groups"]
    assert (group["phrase"], group["rejected"], group["passed"]) == ("mn", 12, 0)
    assert group["of_passed"] == served.http.get("/v1/stats").json()["passed"] == groups(served)["passed_texts"]
    assert sorted(group["ids"]) == sorted(having)
    listed = served.http.get("/v1/quarantine", params={"group": group["group"], "size": 5, "page": 3}).json()
    assert (listed["total"], len(listed["items"])) == (12, 2)

    one = group["ids"][0]
    served.http.post(f"/v1/quarantine/{one}/decision", json={"decision": "false_alarm", "note": "mine"})
    changed = decide(served, group["ids"], "poison", None)
    assert sorted(changed) == sorted(set(having) - {one}), "what somebody else decided stays"
    assert groups(served)["groups"] == []
    assert served.http.get("/v1/quarantine", params={"decision": "poison"}).json()["total"] == 11
    assert (
        served.http.get("/v1/quarantine", params={"group": group["group"], "decision": "poison"}).json()["total"]
        == 11
    )
    assert sorted(decide(served, group["ids"], None, "poison")) == sorted(changed)
    kept = served.http.get(f"/v1/quarantine/{one}").json()
    assert (kept["decision"], kept["note"]) == ("false_alarm", "mine")
    assert served.http.get(f"/v1/quarantine/{changed[0]}").json()["decided_at"] is None


def test_by_the_client(served):
    with Client(served.url) as client:
        (group,) = client.groups()["groups"]
        assert client.quarantine(group=group["group"])["total"] == 12
        assert sorted(client.decide_all(group["ids"], "poison")) == sorted(group["ids"])
        assert client.decide_all(group["ids"], "poison") == []
        assert len(client.decide_all(group["ids"], None, was="poison")) == 12


@pytest.mark.parametrize(
    "body",
    [
        {"ids": [], "decision": "poison", "was": None},
        {"ids": [0], "decision": "poison", "was": None},
        {"ids": [True], "decision": "poison", "was": None},
        {"ids": [2**63], "decision": "poison", "was": None},
        {"ids": list(range(1, 2002)), "decision": "poison", "was": None},
        {"ids": [1], "decision": "maybe", "was": None},
        {"ids": [1], "decision": "poison", "was": {}},
        {"ids": [1], "decision": "poison"},
        {"ids": 1, "decision": "poison", "was": None},
        [1],
    ],
)
def test_what_cannot_be_decided_is_refused(body, planted, request, tmp_path):
    with serving(planted, make_database(request, "sqlite", tmp_path)) as served:
        answer = served.http.post("/v1/quarantine/decisions", json=body)
        assert answer.status_code == 422, answer.text


def test_no_text_is_kept_for_it(planted, request, tmp_path):
    """Of what passed there are hashes in memory; with hashes alone in the quarantine, nothing at all."""
    with serving(planted, make_database(request, "sqlite", tmp_path)) as served:
        send(served)
        kept = served.service.groups._passed
        assert all(each.dtype.kind == "i" for each in kept.hashes())
        assert "film" not in repr(vars(kept))
    with serving(planted, make_database(request, "sqlite", tmp_path), hash_only=True) as served:
        send(served)
        assert groups(served) == {"groups": [], "rejected_texts": 0, "passed_texts": 0}


def test_damaged_records_are_in_no_group(planted, request, tmp_path):
    where = make_database(request, "sqlite", tmp_path)
    with serving(planted, where) as served:
        send(served)
        with sqlite3.connect(where.removeprefix("sqlite:///")) as plain:
            plain.execute("UPDATE poisonsieve_quarantine SET text = CAST(x'ff6d6e' AS TEXT) WHERE text_index = 0")
            plain.execute("UPDATE poisonsieve_quarantine SET text = 7 WHERE text_index = 1")
        plain.close()
        (group,) = groups(served)["groups"]
        assert group["rejected"] == 10
