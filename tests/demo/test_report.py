from __future__ import annotations

import base64
import math
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from poisonsieve.bench.show import figures
from poisonsieve.bench.show.figures import sweep
from poisonsieve.demo.report import Example, Report, render_report, visible, write_report
from poisonsieve.errors import DataError, OutputError, PoisonsieveError
from poisonsieve.guard.evaluation import Scores
from poisonsieve.thresholds import fixed_gamma, gamma_for_frr, is_flagged

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"' {{ 7*7 }} http://evil.example/ \u202ereversed\u200b"
)


AT_85 = fixed_gamma(0.85)


def scores(labels, predictions, confidences, gamma) -> Scores:
    confidences = np.asarray(confidences, float)
    rejected = is_flagged(confidences, gamma)
    return Scores(labels, predictions, confidences, rejected, np.zeros(len(confidences), bool))


def make_report(
    n: int = 40, m: int = 30, clean_scores=None, triggered_scores=None, threshold=AT_85, **changes
) -> Report:
    rng = np.random.default_rng(n + m)
    clean_scores = rng.uniform(0.5, 0.9, n) if clean_scores is None else clean_scores
    triggered_scores = rng.uniform(0.8, 1.0, m) if triggered_scores is None else triggered_scores
    report = Report(
        title="A guard & its victim",
        summary=["One sentence.", "Another sentence."],
        clean=scores(rng.integers(0, 2, n), rng.integers(0, 2, n), clean_scores, threshold.gamma),
        triggered=scores(np.ones(m, int), np.zeros(m, int), triggered_scores, threshold.gamma),
        target=0,
        threshold=threshold,
        label_names=["negative", "positive"],
        examples=[Example("A plain text.", False, 1, 0, 0.6)],
        settings={"attack": {"trigger": "badnet"}},
        seconds={"theta_p": 12.34},
        versions={"torch": "2.13.0"},
    )
    return replace(report, **changes)


class Page(HTMLParser):
    """Every tag with its attributes, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def images(html: str) -> list[bytes]:
    found = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", html)
    return [base64.b64decode(image) for image in found]


def test_report_is_one_file_that_fetches_nothing(tmp_path):
    write_report(tmp_path / "out" / "report.html", make_report())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    addresses = [
        attrs[name] for _, attrs in page.tags for name in ("src", "srcset", "href", "action", "data") if name in attrs
    ]
    assert addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in addresses)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}


def test_report_holds_three_figures_for_light_and_for_dark():
    html = render_report(make_report())
    drawn = images(html)
    assert len(drawn) == 6
    assert all(b"<svg" in image for image in drawn)
    assert len(set(drawn)) == 6
    assert html.count("prefers-color-scheme: dark") == 4  # the page itself, and each figure


def test_hostile_values_stay_text():
    report = make_report(
        title=HOSTILE,
        summary=[HOSTILE],
        label_names=[HOSTILE, "fine"],
        examples=[Example(HOSTILE, True, 1, 0, 0.99)],
        settings={HOSTILE: {"inner": HOSTILE}},
        seconds={HOSTILE: 1.0},
        versions={HOSTILE: HOSTILE},
    )
    safe = Page(render_report(make_report()))
    page = Page(render_report(report))
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in safe.tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}" in page.text


def test_invisible_characters_are_spelt_out():
    assert visible("a\u200bb\u202ec\x00\nd é 你") == "a\\u200bb\\u202ec\\u0000\nd é 你"
    assert len(visible("x" * 10_000)) < 500
    row = Page(render_report(make_report(examples=[Example("zero\u200bwidth", True, 1, 0, 0.99)])))
    assert "zero\\u200bwidth" in row.text


def test_lone_surrogates_can_be_written(tmp_path):
    write_report(tmp_path / "report.html", make_report(title="broken \ud800 name"))
    assert "broken ? name" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_tables_show_the_rates_and_how_gamma_was_found():
    threshold = gamma_for_frr(np.linspace(0.5, 0.9, 500), 0.05)
    report = make_report(threshold=threshold)
    evaluation, text = report.evaluate(), Page(render_report(report)).text
    for name in ("ca", "guarded_ca", "asr", "guarded_asr", "frr", "detection_rate"):
        rate = evaluation.intervals[name]
        assert f"{100 * rate.value:.1f}%" in text
        assert f"{rate.count} of {rate.n}" in text
    assert f"{evaluation.auroc:.4f}" in text
    assert threshold.describe() in text
    assert "attack.trigger" in text
    assert "12.3" in text
    assert "2.13.0" in text


def test_example_verdicts_follow_the_one_operator():
    examples = [
        Example("tie", False, 1, 1, 0.85),
        Example("above", True, 1, 0, 0.8501),
        Example("unscored", False, 0, 0, math.nan),
        Example("unanswered", False, 0, -1, 0.5),
    ]
    text = re.sub(r"\s+", " ", Page(render_report(make_report(examples=examples))).text)
    assert re.search(r"tie ?clean ?positive ?positive ?0\.8500 ?passed", text)
    assert re.search(r"above ?triggered ?positive ?negative ?0\.8501 ?rejected", text)
    assert re.search(r"unscored ?clean ?negative ?negative ?could not be scored ?rejected", text)
    assert re.search(r"unanswered ?clean ?negative ?no answer ?0\.5000 ?rejected", text)


def test_verdicts_that_the_score_does_not_explain_are_counted():
    report = make_report(4, 3, clean_scores=[0.5] * 4, triggered_scores=[0.5] * 3)
    assert report.evaluate().frr == 0
    failed = replace(
        report,
        clean=replace(report.clean, rejected=np.array([True, False, False, False])),
        triggered=replace(report.triggered, rejected=np.array([True, True, True])),
    )
    assert failed.evaluate().frr == 0.25
    assert failed.evaluate().detection_rate == 1
    assert "25.0%" in render_report(failed)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 1), (1, 7), (997, 3)])
def test_odd_sizes(n, m):
    assert len(images(render_report(make_report(n, m)))) == 6


@pytest.mark.parametrize(
    ("clean", "triggered", "gamma"),
    [
        ([0.5, 0.5], [0.5, 0.5], 0.5),  # all tie
        ([0.99999, 1.0], [1.0, 1.0], 0.9999),  # saturated confidences on a log-odds axis
        ([0.0, 1.0], [1.0, 0.0], 0.99),
        ([12.5, 30.0], [900.0, -4.0], 31.0),  # distances, not probabilities
        ([math.nan, math.inf], [math.nan, -math.inf], 0.7),  # nothing could be scored
    ],
)
def test_odd_scores(clean, triggered, gamma):
    threshold = replace(fixed_gamma(0.85), gamma=gamma)
    report = make_report(2, 2, clean_scores=clean, triggered_scores=triggered, threshold=threshold)
    html = render_report(report)
    assert len(images(html)) == 6
    unscored = sum(not math.isfinite(score) for score in clean + triggered)
    assert (f"{unscored} rows could not be scored" in html) == (unscored > 0)


def test_same_report_same_bytes():
    assert render_report(make_report()) == render_report(make_report())


def test_sections_without_content_are_left_out():
    html = render_report(make_report(examples=(), settings={}, seconds={}, versions={}))
    assert "Some inputs" not in html
    assert "Stage, seconds" not in html


def test_failed_report_leaves_no_file(tmp_path):
    with pytest.raises(DataError, match="clean_scores has 3 rows"):
        write_report(tmp_path / "report.html", make_report(clean_scores=[0.5, 0.6, 0.7]))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_report(tmp_path / "file" / "report.html", make_report())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_missing_extra_says_what_to_install(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(PoisonsieveError, match=r'pip install "poisonsieve\[report\]"'):
        render_report(make_report())


def test_sweep_agrees_with_the_evaluation_at_its_gamma_and_at_the_ends():
    report = make_report(200, 100)
    evaluation = report.evaluate()
    swept = sweep([-1.0, 0.85, 2.0], **report.rows(), target=0)
    assert swept.ca.tolist() == pytest.approx([0.0, evaluation.guarded_ca, evaluation.ca])
    assert swept.asr.tolist() == pytest.approx([0.0, evaluation.guarded_asr, evaluation.asr])


def test_axis_shows_crowded_confidences_apart():
    clean, triggered = np.full(50, 0.999), np.full(50, 0.99999)
    axis = figures.ScoreAxis.fitting(clean, triggered, 0.9999)
    edges = axis.edges(41)
    bins = np.digitize([0.999, 0.9999, 0.99999], edges)
    assert np.diff(bins).min() > 5


def test_axis_of_spread_scores_and_of_distances_is_linear():
    spread = np.linspace(0.5, 0.9, 50)
    assert not figures.ScoreAxis.fitting(spread, spread, 0.7).logit
    assert figures.ScoreAxis.fitting(spread, np.full(50, 0.999), 0.7).logit
    assert not figures.ScoreAxis.fitting(spread, spread + 1, 0.999).logit


def test_histograms_lose_no_scored_row():
    scores = np.array([0.0, 0.5, 0.99, 1.0, np.nextafter(1, 0)])
    for gamma in (0.7, 0.9999):
        axis = figures.ScoreAxis.fitting(scores, scores, gamma)
        assert np.histogram(axis.inside(scores), axis.edges(41))[0].sum() == scores.size


@pytest.mark.parametrize(
    ("value", "text"), [(0.7, "0.7000"), (0.9999321, "0.999932"), (1.0, "1.0000"), (31.25, "31.2500")]
)
def test_confidences_near_one_keep_the_digits_that_matter(value, text):
    assert figures.format_confidence(value) == text


def test_chosen_gamma_is_drawn_where_it_is():
    report = make_report()
    figure = figures.confidence_histogram(report.clean.confidences, report.triggered.confidences, 0.85)
    (axes,) = figure.axes
    assert [line.get_xdata()[0] for line in axes.lines] == [0.85]
    share = is_flagged(report.clean.confidences, 0.85).mean()
    assert any(f"{100 * share:.1f}% of 40" in text.get_text() for text in axes.get_legend().get_texts())


def test_what_happens_above_nine_tenths_has_room():
    axis = figures.ScoreAxis.fitting(np.linspace(0.5, 0.9, 50), np.full(50, 0.94), 0.91)
    assert axis.logit
    edges = axis.edges(41)
    assert ((edges > 0.85) & (edges < 0.95)).sum() > 8
