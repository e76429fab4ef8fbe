"""One text, three ways in: Python, the command line, HTTP. The verdict is the same, whatever the text holds."""

import json

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from serving import make_database, serving

pytest_plugins = ["serving"]

PHASES = [Phase.explicit, Phase.generate]  # shrinking would ask the service thousands of times
WORDS = ["good", "bad", "film", "a", "mn", "3d", "watched"]
PIECES = st.one_of(
    st.sampled_from(WORDS),
    st.text(st.characters(categories=["Cc", "Cf", "Zs", "Zl", "Zp"]), min_size=1, max_size=4),
    st.text(st.characters(categories=["Cs"]), min_size=1, max_size=2),
    st.sampled_from(
        ["\u202eabc\u202c", "\u05d0\u05d1\u05d2", "\U0001f469\u200d\U0001f680", "\ufeff", "\ufffd", "e\u0301"]
    ),
    st.text(max_size=12),
)
#: In JSON two surrogates that make a pair are one character; so a text is what JSON makes of it.
TEXTS = st.lists(PIECES, max_size=8).map(" ".join).map(lambda text: json.loads(json.dumps(text)))


@pytest.fixture(scope="module")
def served(guarded, served_guard, request, tmp_path_factory):
    with serving(guarded, make_database(request, "sqlite", tmp_path_factory.mktemp("same"))) as running:
        yield running


def over_http(served, texts):
    # As any JSON library writes it: what UTF-8 cannot hold is escaped.
    body = json.dumps({"texts": texts}, ensure_ascii=True).encode()
    answer = served.http.post("/v1/classify", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    return answer.json()["verdicts"]


def assert_alike(left, right, text):
    names = ("verdict", "rejected", "reason", "truncated", "label", "label_name")
    assert [left[name] for name in names] == [right[name] for name in names], ascii(text)
    for name in ("confidence", "score", "gamma"):
        assert left[name] == pytest.approx(right[name], abs=1e-6), ascii(text)


def clear_of_gamma(verdict):
    """Another batch moves the last digits; a text within them of gamma may fall to either side."""
    return verdict["confidence"] is None or abs(verdict["confidence"] - verdict["gamma"]) > 1e-7


@settings(max_examples=40, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
def test_python_and_http_agree(texts, served, guarded):
    expected = [verdict.to_dict() for verdict in guarded.screen(texts)]
    for text, left, right in zip(texts, expected, over_http(served, texts), strict=True):
        if clear_of_gamma(left):
            assert_alike(left, right, text)


@settings(max_examples=8, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(TEXTS, min_size=1, max_size=20))
def test_the_command_line_agrees(texts, served, served_guard, tiny, tmp_path_factory, cli):
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="ascii")
    code, out, err = cli("screen", served_guard, file, "--victim", tiny("encoder"), "--quiet")
    assert code == 0, err
    records = [json.loads(line) for line in out.split("\n") if line]  # a record may hold other line ends
    for text, left, right in zip(texts, records, over_http(served, texts), strict=True):
        if left["reason"] and left["reason"].startswith("not read"):
            assert right["rejected"], ascii(text)  # the file could not hold it; over HTTP the guard could not read it
        elif clear_of_gamma(left):
            assert_alike(left, right, text)


@pytest.mark.parametrize(
    "text",
    [
        "good film " * 100_000,
        "x" * 1_000_000,
        "\U0001f600" * 250_000,
        "\0" * 1_000_000,
        "\ud800" * 1_000_000,
        " " * 1_000_000 + "good film",
        "\u202e" + "\u05d0 " * 300_000,
    ],
    ids=["words", "one word", "emoji", "nul", "surrogates", "space", "right to left"],
)
def test_a_line_of_a_megabyte(text, served, guarded):
    expected = guarded.screen([text])[0].to_dict()
    (found,) = over_http(served, [text])
    assert_alike(expected, found, text[:20])


def test_what_cannot_be_encoded_is_rejected_with_a_reason(served):
    for verdict in over_http(served, ["\ud800", "good \udfff film"]):
        assert verdict["rejected"] and verdict["confidence"] is None
        assert verdict["reason"].startswith("tokenizer failed")
    newest = served.http.get("/v1/quarantine?size=2").json()["items"]
    assert [item["text"] for item in newest] == ["good \udfff film", "\ud800"]


def test_the_client_agrees(served, guarded, texts):
    from poisonsieve.serve.client import Client

    asked = [*texts["passed"][:2], *texts["rejected"][:1], "\ud800", ""]
    with Client(served.url) as client:
        found = client.classify(asked)
    for text, left, right in zip(asked, guarded.screen(asked), found, strict=True):
        assert_alike(left.to_dict(), right.to_dict(), text)
    assert httpx.get(served.url + "/healthz").status_code == 200
