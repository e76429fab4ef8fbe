"""The page in a real browser: live counts, and what it shows when the service does not answer."""

import itertools
import json
import time

import pytest
from browsing import WAIT_MS, sqlite_in
from serving import serving

pytest_plugins = ["serving", "browsing"]


@pytest.fixture
def served(guarded, served_guard, tmp_path):
    with serving(guarded, sqlite_in(tmp_path), drift_min_texts=8) as running:
        yield running


def number(shown, name):
    return int(shown.page.locator(f"[data-count={name}]").inner_text().replace(",", ""))


def until_number(shown, name, value):
    shown.until(
        "([name, value]) => document.querySelector(`[data-count=${name}]`)?.textContent === value", [name, str(value)]
    )


def hide(shown, hidden):
    """Have the page believe that its tab is hidden, or seen."""
    shown.page.evaluate(
        """(state) => {
            Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        "hidden" if hidden else "visible",
    )


def test_counts_and_distribution_follow_the_traffic(visit, served, texts):
    shown = visit(served.url).loaded()
    assert [number(shown, name) for name in ("passed", "poisoned", "not_scored", "queue")] == [0, 0, 0, 0]
    assert "too few" in shown.text("#drift")
    sent = json.dumps({"texts": [*texts["passed"][:6], *texts["rejected"][:4], "\ud800"]})
    headers = {"Content-Type": "application/json"}
    served.http.post("/v1/screen", content=sent, headers=headers).raise_for_status()
    until_number(shown, "passed", 6)
    assert (number(shown, "poisoned"), number(shown, "not_scored")) == (4, 1)
    recent = served.http.get("/v1/stats").json()["recent"]
    for kind in ("passed", "rejected"):
        bars = shown.page.locator(f"#distribution rect.bin.{kind}").count()
        assert bars == sum(count > 0 for count in recent[f"counts_{kind}"])
    assert "latest 10 texts" in shown.text("#recent-note")
    assert shown.page.locator("#distribution path.outline").count() == 1
    assert "distance" in shown.text("#drift")


def test_drift_is_said(visit, served, texts):
    for _ in range(8):
        served.http.post("/v1/screen", json={"texts": texts["rejected"][:10]}).raise_for_status()
    assert served.http.get("/v1/stats").json()["drift"]["drifted"] is True
    shown = visit(served.url).loaded()
    assert "recent confidences differ" in shown.text("#drift")
    assert shown.page.locator("#drift [data-drift=yes]").count() == 1


def test_new_rejections_are_announced_and_do_not_move_the_rows(visit, served, texts):
    served.http.post("/v1/screen", json={"texts": texts["rejected"][:2]}).raise_for_status()
    shown = visit(served.url).loaded()
    assert shown.page.locator("#rows .record").count() == 2
    served.http.post("/v1/screen", json={"texts": texts["rejected"][2:5]}).raise_for_status()
    shown.page.get_by_text("3 texts were rejected since").wait_for()
    assert shown.page.locator("#rows .record").count() == 2
    shown.page.click("#refresh")
    shown.until("document.querySelectorAll('#rows .record').length === 5")
    assert shown.page.locator("#fresh").inner_text() == ""


def test_a_hidden_tab_asks_nothing_and_asks_at_once_when_it_is_seen(visit, served, texts):
    shown = visit(served.url).loaded()
    hide(shown, True)
    shown.page.locator("#connection[data-state=paused]").wait_for()
    asked = len(shown.asked("/v1/stats"))
    served.http.post("/v1/screen", json={"texts": texts["passed"][:3]}).raise_for_status()
    shown.page.wait_for_timeout(3500)
    assert len(shown.asked("/v1/stats")) == asked
    hide(shown, False)
    until_number(shown, "passed", 3)
    assert shown.page.get_attribute("#connection", "data-state") == "live"


def test_a_service_that_is_gone_is_said_and_asked_less_and_less(visit, guarded, served_guard, texts, tmp_path):
    with serving(guarded, sqlite_in(tmp_path)) as running:
        running.http.post("/v1/screen", json={"texts": texts["passed"][:2]}).raise_for_status()
        shown = visit(running.url).loaded()
    shown.page.locator("#connection[data-state=failing]").wait_for()
    said = shown.text("#connection-text")
    assert "The service cannot be reached." in said
    assert "showing the state of" in said
    assert shown.page.locator("#try-now").is_visible()
    assert "stale" in shown.page.get_attribute("#live", "class")
    assert number(shown, "passed") == 2, "the last state stays to be read"
    start = time.monotonic()
    before = len(shown.asked("/v1/guard"))
    shown.page.wait_for_timeout(9000)
    # At the pace of a service that answers it would have been asked every 2 s.
    assert len(shown.asked("/v1/guard")) - before <= 2 * (time.monotonic() - start) / 9, "the waits do not grow"
    shown.page.fill("#text", "a fine film")
    shown.page.click("#screen-button")
    shown.page.locator("#verdict .problem").wait_for(timeout=WAIT_MS)
    assert "The service cannot be reached." in shown.text("#verdict")
    assert "rejected" not in shown.text("#verdict").lower()
    shown.page.click("#refresh")
    shown.page.locator("#records-problem .problem").wait_for()


def test_it_recovers_by_itself_and_on_request(visit, served, texts):
    shown = visit(served.url).loaded()
    context = shown.page.context
    context.set_offline(True)
    shown.page.locator("#connection[data-state=failing]").wait_for()
    shown.page.click("#refresh")
    shown.page.locator("#records-problem .problem").wait_for()
    context.set_offline(False)
    shown.page.locator("#connection[data-state=live]").wait_for()
    shown.page.locator("#records-problem .problem").wait_for(state="detached")
    context.set_offline(True)
    shown.page.locator("#connection[data-state=failing]").wait_for()
    shown.page.wait_for_timeout(5000)  # so that the next try by itself is seconds away
    context.set_offline(False)
    served.http.post("/v1/screen", json={"texts": texts["passed"][:5]}).raise_for_status()
    if shown.page.locator("#try-now").is_visible():
        shown.page.click("#try-now")
    until_number(shown, "passed", 5)
    assert "stale" not in (shown.page.get_attribute("#live", "class") or "")


def test_the_header_explains_its_words(visit, guarded, served_guard, tmp_path):
    with serving(guarded, sqlite_in(tmp_path)) as running:
        shown = visit(running.url).loaded()
        titles = {
            fact.locator("dt").inner_text(): fact.get_attribute("title")
            for fact in shown.page.locator("#facts > div").all()
        }
        assert "above gamma is rejected" in titles["Gamma"] and "false-rejection rate" in titles["Gamma"]
        assert all(titles[name] for name in ("Guard", "Classes", "Victim", "Digest"))


def test_the_label_of_gamma_is_never_cut_off(visit, planted_guard, tmp_path):
    from poisonsieve import GuardedClassifier

    with serving(GuardedClassifier.from_pretrained(planted_guard, None), sqlite_in(tmp_path)) as running:
        shown = visit(running.url).loaded()
        for width in range(340, 1400, 40):
            shown.page.set_viewport_size({"width": width, "height": 700})
            shown.until(
                "[...document.querySelectorAll('.chart')].every((e) => e.firstChild.clientWidth === e.clientWidth)"
            )
            over = shown.page.evaluate(
                """() => [...document.querySelectorAll(".gamma-label")].map((label) =>
                     label.getBoundingClientRect().right - label.ownerSVGElement.getBoundingClientRect().right)"""
            )
            assert len(over) == 2 and max(over) <= 0, (width, over)


def test_the_axis_of_confidences_without_an_upper_end_says_that_it_holds_more(
    visit, planted_guard, tiny, toy_train, toy_dev, tmp_path
):
    from poisonsieve import Guard, GuardedClassifier
    from poisonsieve.defenses.mahalanobis import Mahalanobis

    Guard(Mahalanobis(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev).save_pretrained(
        tmp_path / "open"
    )
    for folder, says in ((tmp_path / "open", True), (planted_guard, False)):
        with serving(GuardedClassifier.from_pretrained(folder), f"{sqlite_in(tmp_path)}{says}") as running:
            shown = visit(running.url).loaded()
            for width in (340, 900):
                shown.page.set_viewport_size({"width": width, "height": 700})
                shown.until(
                    "[...document.querySelectorAll('.chart')].every((e) => e.firstChild.clientWidth === e.clientWidth)"
                )
                ticks = shown.page.evaluate(
                    """() => [...document.querySelectorAll("#distribution .tick")].map((tick) => {
                         const box = tick.getBoundingClientRect();
                         return [box.left, box.right, tick.textContent];
                    })"""
                )
                assert ticks[-1][2].endswith(" and more") is says
                gaps = [right[0] - left[1] for left, right in itertools.pairwise(ticks)]
                assert len(ticks) > 1 and min(gaps) > 0, (width, ticks)
