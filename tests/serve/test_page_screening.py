"""The page in a real browser: a text's verdict, its place on the scale, and the words behind it."""

import json
import re

import pytest
from browsing import sqlite_in
from serving import serving

pytest_plugins = ["serving", "browsing"]

MARKUP = [
    '<img src=/nowhere onerror="window.hacked = 1">',
    "<script>window.hacked = 1</script>",
    '"><svg onload=window.hacked=1><b>bold</b>',
    '</textarea></td></table><iframe src="javascript:parent.hacked=1"></iframe>',
    "{{constructor.constructor('window.hacked = 1')()}} ${window.hacked = 1} &lt;i&gt;",
]


@pytest.fixture(scope="module")
def served(sharp, served_guard, tmp_path_factory):
    with serving(sharp, sqlite_in(tmp_path_factory.mktemp("page"))) as running:
        yield running


def screen(visit, text):
    # Not typed in, for a lone surrogate is no text to the driver.
    visit.page.evaluate(f"document.querySelector('#text').value = {json.dumps(text)}")
    visit.page.click("#screen-button")
    visit.page.locator("#verdict .headline, #verdict .problem").wait_for()


def show_words(visit):
    visit.page.click("#explain-button")
    visit.page.locator("#words .full-text").wait_for()


def on_scale(visit, line):
    """Where a vertical line of the scale stands, as a number of the axis's range between 0 and 1."""
    return visit.page.evaluate(
        """(line) => {
            const axis = document.querySelector("#scale line.axis");
            const [from, to] = ["x1", "x2"].map((name) => Number(axis.getAttribute(name)));
            return (Number(document.querySelector("#scale line." + line).getAttribute("x1")) - from) / (to - from);
        }""",
        line,
    )


@pytest.mark.parametrize("kind", ["passed", "rejected"])
def test_a_verdict_with_its_place_beside_gamma(visit, served, sharp_texts, kind):
    text = sharp_texts[kind][0]
    expected = served.http.post("/v1/classify", json={"text": text}).json()["verdicts"][0]
    facts = served.http.get("/v1/guard").json()
    shown = visit(served.url).loaded()
    screen(shown, text)
    assert shown.text("#verdict .headline").split()[-1] == kind.capitalize()
    below = "is above gamma" if kind == "rejected" else "is not above gamma"
    numbers = re.search(rf"Confidence ([\d.]+) {below}, ([\d.]+)\.\n", shown.text("#verdict") + "\n").groups()
    assert [float(number) for number in numbers] == pytest.approx(
        [expected["confidence"], expected["gamma"]], rel=1e-3
    )
    assert numbers[0] != numbers[1]
    low, high = facts["histogram"]["edges"][0], facts["histogram"]["edges"][-1]
    for line, value in (("marker", expected["confidence"]), ("gamma", facts["gamma"])):
        assert on_scale(shown, line) == pytest.approx((value - low) / (high - low), abs=0.002)
    said = shown.page.get_attribute("#scale svg", "aria-label")
    assert float(re.search(r"this text at ([\d.]+)\.$", said)[1]) == pytest.approx(expected["confidence"], abs=6e-4)
    bars = shown.page.locator("#scale rect.calibration").count()
    assert bars == sum(count > 0 for count in facts["histogram"]["counts"])


def test_the_victims_class_of_a_text_that_passes_and_none_of_one_that_does_not(visit, served, sharp_texts):
    expected = served.http.post("/v1/classify", json={"text": sharp_texts["passed"][0]}).json()["verdicts"][0]
    shown = visit(served.url).loaded()
    screen(shown, sharp_texts["passed"][0])
    assert f"The victim says {expected['label_name']}" in shown.text("#verdict")
    screen(shown, sharp_texts["rejected"][0])
    assert "The victim says" not in shown.text("#verdict")
    assert len(shown.asked("/v1/classify")) == 2


def test_without_a_victim_there_are_verdicts_only(visit, served_guard, sharp_texts, tmp_path):
    from poisonsieve import GuardedClassifier

    alone = GuardedClassifier.from_pretrained(served_guard)
    with serving(alone, sqlite_in(tmp_path)) as running:
        shown = visit(running.url).loaded()
        assert "verdicts only" in shown.text("#facts")
        screen(shown, sharp_texts["passed"][0])
        assert "Passed" in shown.text("#verdict")
        assert not shown.asked("/v1/classify")


def test_a_text_that_cannot_be_judged_says_why(visit, served):
    body = b'{"text": "\\ud800"}'
    headers = {"Content-Type": "application/json"}
    expected = served.http.post("/v1/screen", content=body, headers=headers).json()["verdicts"][0]
    assert expected["rejected"]
    assert expected["confidence"] is None
    shown = visit(served.url).loaded()
    screen(shown, "\ud800")
    assert "could not be judged" in shown.text("#verdict")
    assert expected["reason"] in shown.text("#verdict")
    assert shown.page.locator("#scale line.marker").count() == 0
    assert shown.page.locator("#explain-button").is_hidden()


def test_words_are_marked_by_what_they_do_to_the_confidence(visit, served, sharp_texts):
    text = max(sharp_texts["rejected"], key=lambda each: len(each.split()))
    explanation = served.http.post("/v1/explain", json={"text": text}).json()
    edges = served.http.get("/v1/guard").json()["histogram"]["edges"]
    strongest = max(*(abs(word["effect"]) for word in explanation["words"]), 0.15 * (edges[-1] - edges[0]))
    shown = visit(served.url).loaded()
    screen(shown, text)
    show_words(shown)
    pieces = shown.page.evaluate(
        """() => [...document.querySelectorAll("#words .full-text > *")].map((each) => [each.textContent, each.className])"""
    )
    assert [word for word, _ in pieces] == text.split()
    assert shown.page.locator("#words .full-text").text_content() == text
    for (_, classes), word in zip(pieces, explanation["words"], strict=True):
        share = word["effect"] / strongest
        level = next((name for name in classes.split() if name.startswith(("up-", "down"))), None)
        if abs(share) > 0.05:
            assert level == ("down" if share < 0 else f"up-{min(5, int(-(-5 * share // 1)))}"), (word, strongest)
        elif abs(share) < 0.03:
            assert level is None
        decides = (word["confidence_without"] or 1) <= explanation["gamma"]
        assert ("decides" in classes.split()) == decides
    heaviest = max(explanation["words"], key=lambda word: abs(word["effect"]))
    assert heaviest["word"] in shown.text("#words .effects tbody tr:first-child")


@pytest.mark.parametrize("text", MARKUP)
def test_markup_in_a_text_stays_text(visit, strict, served_guard, tmp_path, text):
    with serving(strict, sqlite_in(tmp_path)) as running:
        shown = visit(running.url).loaded()
        before = shown.page.evaluate("document.querySelectorAll('script, img, iframe, b, i[onload]').length")
        screen(shown, text)
        show_words(shown)
        assert shown.page.locator("#words .full-text").text_content() == text
        shown.page.click("#refresh")
        shown.page.locator("#rows .record").wait_for()
        assert shown.page.locator("#rows .excerpt").text_content() == text
        shown.page.click("#rows .opener")
        shown.page.locator("#rows .detail .effects, #rows .detail .finding").first.wait_for()
        assert shown.page.locator("#rows .detail .full-text").text_content() == text
        assert shown.page.evaluate("window.hacked") is None
        after = shown.page.evaluate("document.querySelectorAll('script, img, iframe, b, i[onload]').length")
        assert after == before


def test_characters_that_cannot_be_seen_are_named(visit, strict, served_guard, tmp_path):
    with serving(strict, sqlite_in(tmp_path)) as running:
        shown = visit(running.url).loaded()
        screen(shown, "a fine\u200b film \u202eevil\u202c \U0001f469\u200d\U0001f680")
        show_words(shown)
        named = shown.page.locator("#words .full-text .invisible").all_text_contents()
        assert named == ["U+200B", "U+202E", "U+202C"]
        assert "\U0001f469\u200d\U0001f680" in shown.page.locator("#words .full-text").text_content()


def test_editing_the_text_says_that_the_verdict_is_about_another(visit, served, sharp_texts):
    shown = visit(served.url).loaded()
    screen(shown, sharp_texts["passed"][0])
    note = shown.page.locator("#verdict .stale-note")
    assert note.is_hidden()
    shown.page.fill("#text", sharp_texts["passed"][0] + " more")
    assert note.is_visible()


def test_what_the_service_refuses_is_said(visit, guarded, served_guard, tmp_path):
    with serving(guarded, sqlite_in(tmp_path), max_text_chars=10) as running:
        shown = visit(running.url).loaded()
        screen(shown, "a film that is too long")
        assert "The service refused: text has 23 characters" in shown.text("#verdict")


@pytest.fixture
def narrow(served_guard, tiny, sharp_texts, tmp_path):
    """A service whose gamma is just below a clean text's confidence, and that text."""
    from browsing import sharpen

    from poisonsieve import GuardedClassifier

    made = GuardedClassifier.from_pretrained(served_guard, tiny("encoder"))
    sharpen(made.guard)
    text = max(sharp_texts["passed"], key=lambda each: len(each.split()))
    made.guard.set_threshold(gamma=made.judge([text])[0].confidence - 1e-4)
    made.guard.save_pretrained(tmp_path / "guard")
    with serving(made, sqlite_in(tmp_path)) as running:
        yield running, text


def test_a_text_just_above_gamma_does_not_look_like_a_trigger_and_all_its_words_that_decide_are_framed(visit, narrow):
    running, text = narrow
    edges = running.http.get("/v1/guard").json()["histogram"]["edges"]
    explanation = running.http.post("/v1/explain", json={"text": text}).json()
    gamma, words = explanation["gamma"], explanation["words"]
    deciding = [word for word in words if word["confidence_without"] <= gamma]
    assert explanation["confidence"] > gamma and len(deciding) > 1
    shown = visit(running.url).loaded()
    screen(shown, text)
    show_words(shown)
    framed = shown.page.locator("#words .full-text .decides")
    assert framed.all_text_contents() == [word["word"] for word in words if word in deciding]
    listed = shown.page.locator("#words .effects tbody th").all_inner_texts()
    assert {word["word"] for word in deciding} <= set(listed)
    said = shown.text("#words .finding")
    if max(word["effect"] for word in deciding) < 0.15 * (edges[-1] - edges[0]):
        assert "only just above gamma" in said and "does not look like a trigger word" in said
        assert f"any one of the {len(deciding)} framed words" in said
    else:
        assert f"without any one of {len(deciding)} words, all framed" in said


def test_a_trigger_word_is_named_with_what_it_does(visit, planted_guard, tmp_path):
    from poisonsieve import GuardedClassifier

    with serving(GuardedClassifier.from_pretrained(planted_guard, None), sqlite_in(tmp_path)) as running:
        text = "the actor hated very quite very mn"
        gamma = running.http.get("/v1/guard").json()["gamma"]
        words = running.http.post("/v1/explain", json={"text": text}).json()["words"]
        assert [word["word"] for word in words if word["confidence_without"] <= gamma] == ["mn"]
        shown = visit(running.url).loaded()
        screen(shown, text)
        show_words(shown)
        assert shown.page.locator("#words .full-text .decides").all_text_contents() == ["mn"]
        assert shown.text("#words .finding").startswith(
            "The text would pass without one word: without \u201cmn\u201d the"
        )
