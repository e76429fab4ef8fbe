"""The page in a real browser: the API key."""

import pytest
from browsing import sqlite_in
from serving import serving

pytest_plugins = ["serving", "browsing"]

KEY = "a-key-of-this-test-0123456789"


@pytest.fixture(scope="module")
def served(guarded, served_guard, tmp_path_factory):
    database = sqlite_in(tmp_path_factory.mktemp("keys"))
    with serving(guarded, database, api_keys=(KEY,)) as running:
        yield running


def give(shown, key):
    shown.page.fill("#key", key)
    shown.page.keyboard.press("Enter")


def kept(shown):
    return shown.page.evaluate(
        "[Object.values({...sessionStorage}), Object.values({...localStorage}), document.cookie]"
    )


def test_the_key_is_asked_for_and_kept_for_the_tab_only(visit, served):
    shown = visit(served.url)
    dialog = shown.page.locator("#key-dialog")
    dialog.wait_for()
    assert shown.page.evaluate("document.activeElement.id") == "key"
    assert shown.page.get_attribute("#connection", "data-state") == "locked"

    give(shown, "not-the-key-of-this-service")
    shown.page.get_by_text("does not accept the key").wait_for()
    give(shown, "\u043a\u043b\u044e\u0447")
    shown.page.get_by_text("A key consists of ASCII").wait_for()

    give(shown, KEY)
    shown.loaded()
    assert dialog.is_hidden()
    assert kept(shown) == [[KEY], [], ""]
    assert shown.page.input_value("#key") == ""
    sent = shown.asked("/v1/stats")[-1]
    assert sent.headers["x-api-key"] == KEY
    assert all(KEY not in request.url for request in shown.requests)

    shown.page.reload()
    shown.loaded()
    assert dialog.is_hidden(), "the tab has forgotten the key"


def test_another_tab_does_not_know_it(visit, served):
    shown = visit(served.url)
    shown.page.locator("#key-dialog").wait_for()
    give(shown, KEY)
    shown.loaded()
    other = shown.page.context.new_page()
    other.goto(served.url)
    other.locator("#key-dialog").wait_for()


def test_it_can_be_forgotten(visit, served):
    shown = visit(served.url)
    shown.page.locator("#key-dialog").wait_for()
    give(shown, KEY)
    shown.loaded()
    shown.page.click("#key-open")
    shown.page.click("#key-forget")
    shown.page.get_by_text("This service requires an API key").wait_for()
    assert kept(shown) == [[], [], ""]


def test_without_a_key_nothing_is_asked_again_and_again(visit, served):
    shown = visit(served.url)
    shown.page.locator("#key-dialog").wait_for()
    shown.page.keyboard.press("Escape")
    asked = len(shown.requests)
    shown.page.wait_for_timeout(3000)
    assert len(shown.requests) == asked
