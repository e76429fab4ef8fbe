"""The page in a real browser: reviewing the quarantine, with the keyboard alone."""

import sqlite3

import pytest
from browsing import sqlite_in
from serving import serving

pytest_plugins = ["serving", "browsing"]

ROWS = 27


@pytest.fixture
def served(strict, served_guard, tmp_path):
    """A service with `ROWS` records: the newest is `fine film 26`."""
    with serving(strict, sqlite_in(tmp_path)) as running:
        texts = [f"a {'fine' if index % 2 == 0 else 'dull'} film {index}" for index in range(ROWS)]
        for text in texts:
            running.http.post("/v1/screen", json={"text": text}).raise_for_status()
        yield running


def focused(shown):
    return shown.page.evaluate("document.activeElement.id || document.activeElement.getAttribute('aria-label')")


def row_texts(shown):
    return shown.page.locator("#rows .record .excerpt").all_inner_texts()


def press(shown, *keys):
    for key in keys:
        shown.page.keyboard.press(key)


def tab_to(shown, wanted, limit=12):
    """Press Tab until the focus is on what has this id or begins with this label."""
    for _ in range(limit):
        if (focused(shown) or "").startswith(wanted):
            return
        press(shown, "Tab")
    pytest.fail(f"Tab does not come to {wanted}; it is at {focused(shown)}")


def decision_of(served, number):
    return served.http.get(f"/v1/quarantine/{number}").json()["decision"]


def until_decided(shown, number, name):
    shown.until(
        "([number, name]) => (document.querySelector(`[data-id='${number}'] .chip`)?.textContent ?? '') === name",
        [number, name],
    )


def until_rows(shown, count):
    shown.until("(count) => document.querySelectorAll('#rows .record').length === count", count)


def go_to_quarantine(shown):
    """By the skip link, as a keyboard's user would."""
    press(shown, "Tab", "Tab")
    assert shown.page.evaluate("document.activeElement.textContent") == "Skip to the quarantine"
    shown.until("document.activeElement.getBoundingClientRect().top >= 0")  # it slides into sight
    press(shown, "Enter")
    tab_to(shown, "filter-decision")


def test_filter_page_and_decide_by_keyboard_alone(visit, served):
    shown = visit(served.url).loaded()
    go_to_quarantine(shown)
    assert shown.text("#position") == f"1\u201325 of {ROWS}"

    tab_to(shown, "filter-text")
    shown.page.keyboard.type("DULL")
    until_rows(shown, 13)
    assert all("dull" in text for text in row_texts(shown))
    press(shown, *["Backspace"] * 4)
    until_rows(shown, 25)

    tab_to(shown, f"Open record {ROWS}")
    press(shown, "p")
    until_decided(shown, 27, "poison")
    press(shown, "ArrowDown", "f")
    until_decided(shown, 26, "false alarm")
    assert (decision_of(served, 27), decision_of(served, 26)) == ("poison", "false_alarm")
    assert "Record 26: false alarm" in shown.text("#announcer")
    press(shown, "u")
    until_decided(shown, 26, "")
    assert decision_of(served, 26) is None

    press(shown, "End")
    assert focused(shown) == "Open record 3"
    press(shown, "Home")
    assert focused(shown) == "Open record 27"

    # One decided row is gone from "open", so page 1 is asked for again, and nothing is skipped.
    press(shown, "PageDown")
    shown.until("document.activeElement.getAttribute('aria-label') === 'Open record 26'")
    assert shown.text("#position") == "1\u201325 of 26"
    press(shown, "PageDown")
    shown.until("document.activeElement.getAttribute('aria-label') === 'Open record 1'")
    assert shown.text("#position") == "26\u201326 of 26"
    press(shown, "PageUp")
    shown.until("document.activeElement.getAttribute('aria-label') === 'Open record 26'")


@pytest.mark.parametrize(
    ("choice", "expected"), [("poison", [27, 25]), ("false alarm", [26]), ("all", range(27, 2, -1))]
)
def test_filter_by_decision(visit, served, choice, expected):
    for number, decision in ((27, "poison"), (25, "poison"), (26, "false_alarm")):
        served.http.post(f"/v1/quarantine/{number}/decision", json={"decision": decision}).raise_for_status()
    shown = visit(served.url).loaded()
    assert shown.page.locator("#rows .record").first.get_attribute("data-id") == "24"
    shown.page.select_option("#filter-decision", label=choice)
    until_rows(shown, len(expected))
    ids = [each.get_attribute("data-id") for each in shown.page.locator("#rows .record").all()]
    assert ids == [str(number) for number in expected]


def test_open_a_record_see_its_words_and_close_it(visit, served):
    text = "a fine film 26"
    explanation = served.http.post("/v1/explain", json={"text": text}).json()
    shown = visit(served.url).loaded()
    shown.page.locator("#rows .opener").first.focus()
    press(shown, "Enter")
    detail = shown.page.locator("#record-27")
    detail.locator(".effects").wait_for()
    assert shown.page.locator("#rows .opener").first.get_attribute("aria-expanded") == "true"
    assert detail.locator(".full-text").text_content() == text
    heaviest = max(explanation["words"], key=lambda word: abs(word["effect"]))
    assert heaviest["word"] in detail.locator(".effects tbody tr").first.inner_text()
    stored = served.http.get("/v1/quarantine/27").json()
    for value in (stored["text_sha256"], stored["request_id"], stored["guard_digest"]):
        assert value in detail.inner_text()
    press(shown, "Escape")
    assert detail.is_hidden()
    assert focused(shown) == "Open record 27"
    press(shown, "Enter")
    assert detail.is_visible()
    assert len(shown.asked("/v1/explain")) == 1, "words are weighed once"


def test_a_note_is_kept_and_letters_in_it_decide_nothing(visit, served):
    shown = visit(served.url).loaded()
    shown.page.click("#rows .opener >> nth=0")
    shown.page.locator("#note-27").click()
    shown.page.keyboard.type("puff: the word film")
    assert decision_of(served, 27) is None
    shown.page.locator("#record-27").get_by_role("button", name="Save note").click()
    shown.page.get_by_role("button", name="Poison, record 27").click()
    until_decided(shown, 27, "poison")
    stored = served.http.get("/v1/quarantine/27").json()
    assert (stored["decision"], stored["note"]) == ("poison", "puff: the word film")
    shown.page.get_by_role("button", name="Undo, record 27").click()
    until_decided(shown, 27, "")
    stored = served.http.get("/v1/quarantine/27").json()
    assert (stored["decision"], stored["note"]) == (None, "puff: the word film")


def test_the_focus_stays_where_a_decision_was_made(visit, served):
    shown = visit(served.url).loaded()
    shown.page.get_by_role("button", name="False alarm, record 27").focus()
    press(shown, "Enter")
    until_decided(shown, 27, "false alarm")
    assert focused(shown) == "Undo, record 27"
    press(shown, "Enter")
    until_decided(shown, 27, "")
    assert focused(shown) == "Poison, record 27"


def test_tab_passes_the_table_in_a_few_steps(visit, served):
    shown = visit(served.url).loaded()
    shown.page.locator("#refresh").focus()
    stops = []
    for _ in range(5):
        press(shown, "Tab")
        stops.append(focused(shown))
    assert stops == ["Open record 27", "Poison, record 27", "False alarm, record 27", "previous", "next"]


def test_a_decision_that_failed_is_said_and_not_shown(visit, served):
    shown = visit(served.url).loaded()
    shown.page.context.set_offline(True)
    shown.page.locator("#rows .opener").first.focus()
    press(shown, "p")
    shown.page.get_by_text("Record 27 was not changed.").wait_for()
    assert shown.page.locator("[data-id='27'] .chip").count() == 0
    shown.page.context.set_offline(False)
    press(shown, "p")
    until_decided(shown, 27, "poison")


def test_what_is_kept_as_a_hash_only_shows_its_hash(visit, strict, served_guard, tmp_path):
    with serving(strict, sqlite_in(tmp_path), hash_only=True) as running:
        running.http.post("/v1/screen", json={"text": "a secret film"}).raise_for_status()
        stored = running.http.get("/v1/quarantine/1").json()
        assert stored["text"] is None
        shown = visit(running.url).loaded()
        assert stored["text_sha256"] in shown.text("#rows .record .text")
        shown.page.click("#rows .opener")
        shown.page.get_by_text("Only the hash of this text was kept").wait_for()
        assert "secret" not in shown.page.content()
        assert not shown.asked("/v1/explain")


def test_an_empty_quarantine_says_so(visit, guarded, served_guard, tmp_path):
    with serving(guarded, sqlite_in(tmp_path)) as running:
        shown = visit(running.url).loaded()
        assert "Nothing is waiting for a decision." in shown.text("#rows")
        assert shown.text("#position") == "0 records"
        shown.page.fill("#filter-text", "nothing")
        shown.page.get_by_text("No record with this decision contains that.").wait_for()


def test_damaged_records_are_named_and_the_rest_is_shown(visit, served):
    with sqlite3.connect(served.service.quarantine.engine.url.database) as plain:
        plain.execute("UPDATE poisonsieve_quarantine SET confidence = 'x' WHERE id IN (20, 26)")
    plain.close()
    shown = visit(served.url).loaded()
    assert "Records 26, 20 of this page are damaged" in shown.text("#records-problem")
    until_rows(shown, 23)
    assert shown.text("#position") == "1\u201325 of 27"
    shown.page.click("#next")
    until_rows(shown, 2)
    assert shown.text("#records-problem") == ""
    with sqlite3.connect(served.service.quarantine.engine.url.database) as plain:
        plain.execute("UPDATE poisonsieve_quarantine SET confidence = 'x'")
    plain.close()
    shown.page.click("#refresh")
    shown.page.get_by_text("No record of this page can be shown.").wait_for()
    assert "damaged" in shown.text("#records-problem")
