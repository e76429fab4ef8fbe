"""The page in a real browser: on a phone, in light and dark, with hostile texts, by keyboard."""

import re

import pytest
from browsing import sqlite_in
from serving import serving

pytest_plugins = ["serving", "browsing"]

HOSTILE = [
    "x" * 3000,
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd " * 60,
    "\u202e" * 50 + "\u2066gnol dna desrever",
    "z" + "\u0301\u0327" * 400 + " over and under",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467" * 60,
    "line\n" * 200,
    "\ufdfd\u3000" * 50,
]
SCHEMES = ("light", "dark")

#: Every piece of text that can be seen with too little contrast to what is behind it (WCAG 2.2, 1.4.3).
FAINT = """() => {
  const parse = (colour) => {
    const srgb = colour.match(/^color\\(srgb ([\\d.e-]+) ([\\d.e-]+) ([\\d.e-]+)(?: \\/ ([\\d.e-]+))?\\)/);
    if (srgb) return [...srgb.slice(1, 4).map((each) => 255 * each), Number(srgb[4] ?? 1)];
    const found = colour.match(/[\\d.]+/g).map(Number);
    return [found[0], found[1], found[2], found[3] ?? 1];
  };
  const over = (top, below) => top.slice(0, 3).map((each, index) => each * top[3] + below[index] * (1 - top[3]));
  const light = (colour) => {
    const [r, g, b] = colour.map((each) => (each /= 255) <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    if (!element) return parse(getComputedStyle(document.body).backgroundColor).slice(0, 3);
    return over(parse(getComputedStyle(element).backgroundColor), behind(element.parentElement));
  };
  const faint = [];
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest(".unseen, noscript")) continue;
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const svg = element.namespaceURI.endsWith("svg");
    const colour = parse(svg ? style.fill : style.color);
    for (let each = element; each; each = each.parentElement) colour[3] *= Number(getComputedStyle(each).opacity);
    const [a, b] = [over(colour, behind(element)), behind(element)].map(light);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    seen.add(element);
    const name = element.className.baseVal ?? element.className;
    if (ratio < (large ? 3 : 4.5)) faint.push([name, walker.currentNode.textContent.slice(0, 40), ratio.toFixed(2)]);
  }
  return [faint, seen.size];
}"""


@pytest.fixture(scope="module")
def served(strict, served_guard, tmp_path_factory):
    """A service that has rejected hostile texts and plain ones, some of them decided."""
    with serving(strict, sqlite_in(tmp_path_factory.mktemp("layout"))) as running:
        for text in [*HOSTILE, " ", *(f"a fine film {index}" for index in range(12))]:
            running.http.post("/v1/screen", json={"text": text}).raise_for_status()
        for number, decision in ((20, "poison"), (19, "false_alarm")):
            running.http.post(f"/v1/quarantine/{number}/decision", json={"decision": decision}).raise_for_status()
        yield running


def open_all(shown):
    """Everything the page can show at once: a verdict, its words, all records, all of them opened."""
    shown.page.select_option("#filter-size", label="50")
    shown.page.select_option("#filter-decision", label="all")
    # Of undecided records alone there may be as many: only a decided one says that this list is the one asked for.
    shown.until("document.querySelectorAll('#rows .record.decided').length === 2")
    shown.page.fill("#text", "a good fine film " + HOSTILE[0])
    shown.page.click("#screen-button")
    shown.page.click("#explain-button")
    shown.page.locator("#words .finding").wait_for()
    for opener in shown.page.locator("#rows .opener").all():
        opener.click()
    shown.until(
        """document.querySelectorAll(".record-words").length === document.querySelectorAll(".record").length &&
        [...document.querySelectorAll(".record-words")].every((each) => !each.textContent.includes("Weighing"))"""
    )


def too_wide(shown):
    """Elements that stick out at the right, and how wide the document is."""
    return shown.page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          const clipped = ".unseen, .full-text *, .excerpt *, thead *, thead";
          const room = document.documentElement.scrollWidth - width;
          const out = [...document.querySelectorAll("body *")]
            .filter((each) => each.checkVisibility() && (room > 0 || !each.closest(clipped)))
            .filter((each) => each.getBoundingClientRect().right > width + 0.5)
            .map((each) => each.tagName + "." + (each.className.baseVal ?? each.className));
          return [out, room];
        }"""
    )


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_nothing_is_wider_than_the_window(visit, served, width):
    shown = visit(served.url, viewport={"width": width, "height": 740}).loaded()
    assert too_wide(shown) == [[], 0]
    open_all(shown)
    assert too_wide(shown) == [[], 0]
    shown.page.click("#key-open")
    assert too_wide(shown) == [[], 0]


def test_a_row_of_the_table_stays_low_whatever_its_text(visit, served):
    shown = visit(served.url, viewport={"width": 1280, "height": 900}).loaded()
    heights = shown.page.eval_on_selector_all("#rows .record", "rows => rows.map((row) => row.offsetHeight)")
    assert max(heights) < 90


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_has_contrast(visit, served, scheme):
    shown = visit(served.url, color_scheme=scheme).loaded()
    open_all(shown)
    faint, seen = shown.page.evaluate(FAINT)
    assert seen > 150, "the check has not seen the page"
    assert faint == []
    shown.page.context.set_offline(True)
    shown.page.locator("#connection[data-state=failing]").wait_for()
    shown.page.click("#key-open")
    shown.page.click("#key-form button[type=submit]")
    assert shown.page.evaluate(FAINT)[0] == []
    shown.page.context.set_offline(False)


def test_dark_is_dark_and_light_is_light(visit, served):
    def brightness(scheme):
        shown = visit(served.url, color_scheme=scheme).loaded()
        colours = shown.page.evaluate(
            """["body", "section", "#text", "dialog"].map((each) =>
            getComputedStyle(document.querySelector(each)).backgroundColor)"""
        )
        return [sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in colours]

    assert all(each > 240 for each in brightness("light"))
    assert all(each < 40 for each in brightness("dark"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_focus_can_be_seen_wherever_tab_goes(visit, served, scheme):
    shown = visit(served.url, color_scheme=scheme).loaded()
    stops = []
    for _ in range(40):
        shown.page.keyboard.press("Tab")
        if shown.page.evaluate("document.activeElement === document.body"):
            break
        stops.append(
            shown.page.evaluate(
                """() => {
                  const style = getComputedStyle(document.activeElement);
                  const box = document.activeElement.getBoundingClientRect();
                  return [document.activeElement.outerHTML.slice(0, 80), style.outlineStyle, parseFloat(style.outlineWidth),
                    box.width > 0 && box.height > 0];
                }"""
            )
        )
    assert len(stops) > 8
    assert [stop for stop in stops if stop[1] == "none" or stop[2] < 2 or not stop[3]] == []


def test_nothing_moves_for_those_who_asked_for_that(visit, served):
    moving = """() => [...document.querySelectorAll("*")].filter((each) => {
        const style = getComputedStyle(each);
        return style.animationName !== "none" || style.transitionDuration.split(", ").some((time) => parseFloat(time) > 0);
    }).length"""
    assert visit(served.url, reduced_motion="no-preference").loaded().page.evaluate(moving) > 0
    assert visit(served.url, reduced_motion="reduce").loaded().page.evaluate(moving) == 0


def test_names_and_roles(visit, served):
    """What a screen reader needs: every control has a name, and the table is one, also as cards on a phone."""
    for width in (360, 1280):
        page = visit(served.url, viewport={"width": width, "height": 740}).loaded().page
        table = page.get_by_role("table", name="Quarantine")
        assert table.get_by_role("row").count() == page.locator("#rows .record").count() + 1
        assert table.get_by_role("columnheader").all_text_contents() == [
            "Open",
            "Time",
            "Text",
            "Confidence",
            "Decision",
        ]
        for role in ("button", "textbox", "combobox", "searchbox", "img"):
            for each in page.get_by_role(role).all():
                assert re.match(rf"- {role} \"", each.aria_snapshot()), each.evaluate("each => each.outerHTML")
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.locator("#verdict").get_attribute("role") == "status"


def test_a_very_long_text_is_shown_in_part_and_in_full_on_request(visit, served):
    shown = visit(served.url).loaded()
    text = "word " * 4000
    shown.page.fill("#text", text)
    shown.page.click("#screen-button")
    shown.page.click("#explain-button")
    box = shown.page.locator("#words .full-text")
    box.get_by_role("button", name="Show 14,000 more characters").click()
    assert box.text_content() == text
    assert "The first 64 words were left out one by one" in shown.text("#words")


def test_the_files_of_the_page_may_be_kept_but_are_asked_for_each_time(served):
    for name in ("/", "/main.js", "/style.css", "/icon.svg"):
        first = served.http.get(name)
        assert first.status_code == 200
        assert first.headers["cache-control"] == "no-cache"
        assert first.headers["content-security-policy"].startswith("default-src 'self';")
        again = served.http.get(name, headers={"If-None-Match": first.headers["etag"]})
        assert again.status_code == 304
