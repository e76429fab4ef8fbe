"""The page in a real browser: the watch over the traffic, its alarm, and deciding what it flagged."""

import pytest
from browsing import sqlite_in
from serving import serving, wait_for
from watching import EAGER, campaign, send, watched

pytest_plugins = ["serving", "browsing", "watching"]


@pytest.fixture
def alarmed(blind, clean, tmp_path, request):
    """A service with a campaign in its traffic; whether it keeps texts is the fixture's parameter."""
    with serving(blind, sqlite_in(tmp_path), **EAGER, watch_keep_texts=getattr(request, "param", True)) as running:
        send(running, campaign(clean))
        wait_for(lambda: watched(running)["flagged"] and watched(running)["last"]["texts"] == 200)
        yield running


def decisions(served):
    found = served.http.get("/v1/quarantine", params={"decision": "all", "cause": "traffic", "size": 200}).json()
    return {record["decision"] for record in found["items"]}


def test_an_alarm_is_shown_with_the_texts_that_drive_it(visit, alarmed):
    shown = visit(alarmed.url).loaded()
    shown.page.locator("#watch [data-watch=alarm]").wait_for()
    last = watched(alarmed)["last"]
    said = shown.text("#alarm")
    assert last["says"] in said
    assert f"Of {last['flagged']} texts in it, the guard had passed {last['passed']}." in said
    texts = shown.page.locator("#alarm .driving .excerpt").all_inner_texts()
    assert texts == [each["text"] for each in last["driving"][:5]]
    assert sum(text.endswith(" mn") for text in texts) >= 4


def test_what_was_flagged_is_listed_decided_and_undone(visit, alarmed):
    shown = visit(alarmed.url).loaded()
    flagged = len(watched(alarmed)["flagged"])
    shown.page.get_by_role("button", name="Show the flagged texts").click()
    shown.until("(count) => document.querySelectorAll('#rows .record').length === Math.min(25, count)", flagged)
    assert "Only texts that had passed and were flagged later." in shown.text("#group-filter")
    assert "passed, flagged later" in shown.text("#rows .record >> nth=0")
    shown.page.locator("#rows .opener").first.click()
    assert "passed at" in shown.text("#rows .record-facts >> nth=0")

    shown.page.locator("#alarm").get_by_role("button", name="All are poison").click()
    shown.page.get_by_role("button", name="Undo: the flagged texts").wait_for()
    assert decisions(alarmed) == {"poison"}
    shown.page.keyboard.press("Enter")  # the focus is on Undo
    shown.page.locator("#alarm").get_by_role("button", name="All are false alarms").wait_for()
    assert decisions(alarmed) == {None}


@pytest.mark.parametrize("alarmed", [False], indirect=True)
def test_without_texts_the_page_names_requests(visit, alarmed):
    shown = visit(alarmed.url).loaded()
    shown.page.locator("#watch [data-watch=alarm]").wait_for()
    first = watched(alarmed)["last"]["driving"][0]
    assert f"Text not kept: request {first['request_id']}, text {first['text_index'] + 1}" in shown.text("#alarm")
    assert shown.page.locator("#alarm .excerpt").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(visit, alarmed, scheme):
    shown = visit(alarmed.url, viewport={"width": 375, "height": 800}, color_scheme=scheme).loaded()
    shown.page.locator("#alarm .driving").wait_for()
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 375


def test_the_page_learns_of_an_alarm_while_it_is_open(visit, blind, clean, tmp_path):
    with serving(blind, sqlite_in(tmp_path), **EAGER) as served:
        shown = visit(served.url).loaded()
        shown.page.locator("#watch [data-watch=gathering]").wait_for()
        assert shown.text("#alarm") == ""
        send(served, clean[:100])
        shown.page.locator("#watch [data-watch=quiet]").wait_for()
        send(served, campaign(clean)[100:])
        shown.page.locator("#watch [data-watch=alarm]").wait_for()
        assert "flagged later" in shown.text("#alarm")
