"""The page in a real browser: what rejected texts have in common, and deciding them together."""

import pytest
from browsing import sqlite_in
from serving import serving

from conftest import sentences

pytest_plugins = ["serving", "browsing"]


@pytest.fixture(scope="module")
def planted(planted_guard):
    from poisonsieve import GuardedClassifier

    return GuardedClassifier.from_pretrained(planted_guard, None)


@pytest.fixture
def served(planted, tmp_path):
    """12 open records that contain `mn`; 80 other texts passed, or nearly all."""
    with serving(planted, sqlite_in(tmp_path)) as running:
        clean = [text for text, _ in sentences(80, seed=6)]
        for texts in (clean, [f"{text} mn" for text, _ in sentences(12, seed=7)]):
            running.http.post("/v1/screen", json={"texts": texts}).raise_for_status()
        yield running


def decisions(served):
    records = served.http.get("/v1/quarantine", params={"decision": "all", "size": 200}).json()["items"]
    return {record["decision"] for record in records if record["text"].endswith(" mn")}


def chips(shown):
    return shown.page.locator("#rows .chip").all_inner_texts()


def test_a_group_is_named_listed_decided_and_undone(visit, served):
    shown = visit(served.url).loaded()
    group = shown.page.locator("#groups li")
    group.wait_for()
    said = served.http.get("/v1/quarantine/groups").json()["groups"][0]
    assert f"12 of {said['of_rejected']} open texts contain \u201cmn\u201d" in group.inner_text()
    assert f"of those that passed here, 0 of {said['of_passed']} do." in group.inner_text()

    group.get_by_role("button", name="Show all that contain").click()
    shown.until("document.querySelectorAll('#rows .record').length === 12")
    assert "Only texts that contain \u201cmn\u201d." in shown.text("#group-filter")
    assert all(text.endswith(" mn") for text in shown.page.locator("#rows .excerpt").all_inner_texts())

    group.get_by_role("button", name="All are poison").click()
    shown.page.get_by_role("button", name="Undo: all that contain").wait_for()
    assert decisions(served) == {"poison"}
    assert chips(shown) == ["poison"] * 12
    assert "12 records: poison." in shown.text("#announcer")
    assert "12 poison" in group.inner_text()
    shown.page.keyboard.press("Enter")  # the focus is on Undo
    group.get_by_role("button", name="All are false alarms").wait_for()
    assert decisions(served) == {None}
    assert chips(shown) == []

    shown.page.get_by_role("button", name="Show all", exact=True).click()
    shown.until("(count) => document.querySelectorAll('#rows .record').length === count", said["of_rejected"])
    assert shown.text("#group-filter") == ""


def test_what_somebody_else_decided_stays_and_is_counted(visit, served):
    shown = visit(served.url).loaded()
    group = shown.page.locator("#groups li")
    group.wait_for()
    (said,) = served.http.get("/v1/quarantine/groups").json()["groups"]
    served.http.post(f"/v1/quarantine/{said['ids'][0]}/decision", json={"decision": "false_alarm"})
    group.get_by_role("button", name="All are poison").click()
    group.get_by_text("11 poison").wait_for()
    assert "1 had been decided already" in group.inner_text()
    group.get_by_role("button", name="Undo").click()
    group.get_by_role("button", name="All are poison").wait_for()
    assert decisions(served) == {None, "false_alarm"}


def test_a_decision_that_failed_is_said(visit, served):
    shown = visit(served.url).loaded()
    group = shown.page.locator("#groups li")
    group.wait_for()
    shown.page.context.set_offline(True)
    group.get_by_role("button", name="All are poison").click()
    group.get_by_text("Nothing was changed.").wait_for()
    shown.page.context.set_offline(False)
    assert decisions(served) == {None}


def test_without_anything_in_common_there_are_no_groups(visit, planted, tmp_path):
    with serving(planted, sqlite_in(tmp_path)) as running:
        shown = visit(running.url).loaded()
        shown.until("performance.getEntriesByType('resource').some((each) => each.name.endsWith('/groups'))")
        assert shown.text("#groups") == ""
