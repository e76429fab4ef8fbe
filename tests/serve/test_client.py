"""The client against a running service, and against answers that a service should not give."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from unittest import mock

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import make_database, serving

from poisonsieve.errors import DataError, ServiceError
from poisonsieve.serve.client import Client

pytest_plugins = ["serving"]

KEY = "k" * 20
VERDICT = {
    **{"verdict": "passed", "rejected": False, "reason": None, "confidence": 0.5, "gamma": 0.9, "truncated": False},
    **{"label": 1, "label_name": "good", "score": 0.75, "outcome": "passed", "cause": None},
}


@pytest.fixture(scope="module")
def served(guarded, served_guard, request, tmp_path_factory):
    database = make_database(request, "sqlite", tmp_path_factory.mktemp("client"))
    with serving(guarded, database, api_keys=(KEY,)) as running:
        yield running


@pytest.fixture
def client(served):
    with Client(served.url, api_key=KEY) as made:
        yield made


def test_verdicts_are_verdicts(client, guarded, texts):
    asked = [texts["passed"][0], texts["rejected"][0]]
    for found, expected in (
        (client.classify(asked), guarded.screen(asked)),
        (client.screen(asked), guarded.judge(asked)),
    ):
        assert [type(verdict) for verdict in found] == [type(verdict) for verdict in expected]
        assert [(v.cause, v.reason, v.label) for v in found] == [(v.cause, v.reason, v.label) for v in expected]
    assert client.classify([]) == []


def test_review(client, texts):
    client.screen(texts["rejected"][:3])
    items = client.quarantine(contains=texts["rejected"][1])["items"]
    decided = client.decide(items[0]["id"], "poison", "a note")
    assert (decided["decision"], decided["note"]) == ("poison", "a note")
    assert client.quarantine(decision="poison")["total"] == 1
    assert client.decide(items[0]["id"], None)["decision"] is None
    assert client.guard()["defense"] == "psim"
    assert client.stats()["poisoned"] >= 3
    assert len(client.explain("good film")["words"]) == 2


def test_refusals_are_one_line(client, served):
    with pytest.raises(ServiceError, match="404: there is no such record"):
        client.decide(10**9, "poison")
    with pytest.raises(ServiceError, match="422: decision must be"):
        client.decide(1, "perhaps")
    with Client(served.url, api_key="wrong" * 5) as wrong, pytest.raises(ServiceError, match="401: wrong API key"):
        wrong.screen(["a"])
    with Client("http://127.0.0.1:9", retries=0) as lost, pytest.raises(ServiceError, match="no answer from"):
        lost.screen(["a"])


def test_whatever_has_an_order_is_screened_in_its_order(client, guarded, texts):
    import datasets
    import numpy as np
    import pandas as pd

    asked = [texts["passed"][0], texts["rejected"][0], texts["passed"][1], texts["rejected"][1]]
    shuffled = pd.Series(asked, index=[3, 1, 2, 0])
    frame = pd.DataFrame({"review": shuffled, "text": "good"})
    ordered = [shuffled, np.array(asked), (text for text in asked), tuple(asked), dict.fromkeys(asked).keys()]
    for call in (client.screen, client.classify):
        expected = [False, True, False, True]
        for given_as in [iter(asked), *ordered] if call == client.screen else [shuffled]:
            assert [verdict.rejected for verdict in call(given_as)] == expected
        for table in (frame, datasets.Dataset.from_pandas(frame, preserve_index=False)):
            assert [verdict.rejected for verdict in call(table, column="review")] == expected
    with pytest.raises(DataError, match="no column 'reviews'"):
        client.screen(frame, column="reviews")


@pytest.mark.parametrize("texts", ["one string", [1], [None], {"a"}, 3, {"a": 1}])
def test_only_lists_of_strings_are_sent(texts, client):
    with pytest.raises(DataError):
        client.screen(texts)


def answering(*answers):
    """A client whose requests get these answers in turn, and the requests."""
    requests = []

    def handle(request):
        requests.append(request)
        return answers[min(len(requests), len(answers)) - 1]

    offline = httpx.Client(transport=httpx.MockTransport(handle), base_url="http://service.example")
    with mock.patch("poisonsieve.serve.client.http_client", return_value=offline):
        return Client("http://service.example", retries=2), requests


def test_a_full_queue_is_tried_again_after_what_it_asks_for(monkeypatch):
    waited = []
    monkeypatch.setattr("poisonsieve.serve.client.time.sleep", waited.append)
    full = httpx.Response(503, json={"detail": "the queue is full"}, headers={"Retry-After": "3"})
    client, requests = answering(full, full, httpx.Response(200, json={"id": 1}))
    assert client.decide(1, "poison") == {"id": 1}
    assert (waited, len(requests)) == ([3.0, 3.0], 3)
    client, requests = answering(full)
    with pytest.raises(ServiceError, match="503: the queue is full"):
        client.screen(["a"])
    assert len(requests) == 3
    odd = httpx.Response(503, text="busy", headers={"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"})
    client, _ = answering(odd)
    with pytest.raises(ServiceError, match="503"):
        client.screen(["a"])
    assert waited[-1] == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[1]),
        httpx.Response(200, json={"verdicts": []}),
        httpx.Response(200, json={"verdicts": {"a": 1}}),
        httpx.Response(200, json={"verdict": [VERDICT]}),
        httpx.Response(200, text='{"verdicts": [' + json.dumps(VERDICT).replace("{", '{"rejected": true, ') + "]}"),
        httpx.Response(200, text="[" * 100_000),
        httpx.Response(502, text="bad gateway"),
    ],
)
def test_what_is_no_answer_of_the_service_is_an_error(answer):
    client, _ = answering(answer)
    with pytest.raises(ServiceError):
        client.screen(["a"])


JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})


@given(key=st.sampled_from(sorted(VERDICT)) | st.text(max_size=8), value=JSON, drop=st.booleans())
def test_a_damaged_verdict_is_an_error_and_never_another_verdict(key, value, drop):
    damaged = {**VERDICT, key: value}
    if drop:
        del damaged[key]
    client, _ = answering(httpx.Response(200, text=json.dumps({"verdicts": [damaged]})))
    try:
        (found,) = client.screen(["a"])
    except ServiceError:
        assert json.dumps({name: damaged.get(name, drop) for name in VERDICT}) != json.dumps(VERDICT)
        return
    assert not found.rejected and found.reason is None
    if "verdict" not in damaged:  # the word of the version before, which a newer one leaves out
        damaged["verdict"] = VERDICT["verdict"]
    assert found.to_dict() == {name: damaged[name] for name in VERDICT}


def test_the_types_of_what_is_screened_are_checked(tmp_path):
    """By the checker that a program around the client uses."""
    good = ['["a"]', '("a", "b")', 'frame, column="review"', "frame", 'rows, column="review"']
    wrong = ['{"a"}', "(text for text in 'a')", "3", "[3]", '["a"], column="review"']
    calls = "".join(f"client.screen({each})\nclient.classify({each})\n" for each in (*good, *wrong))
    program = tmp_path / "program.py"
    head = (
        "import datasets\nimport pandas as pd\nfrom poisonsieve.serve.client import Client\n\nclient = Client('')\n"
    )
    head += "frame = pd.DataFrame()\nrows = datasets.Dataset.from_dict({})\n"
    program.write_text(head + calls)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", root / "pyproject.toml", program]
    found = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=root)
    lines = {int(line.split(":")[1]) for line in found.stdout.splitlines() if ": error: " in line}
    first = head.count("\n") + 2 * len(good) + 1
    assert lines == set(range(first, first + 2 * len(wrong))), found.stdout


def test_one_client_serves_many_threads(client, texts):
    found = {}

    def ask(number):
        asked = [texts["passed"][number], texts["rejected"][number]]
        found[number] = [verdict.rejected for verdict in client.screen(asked)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {number: [False, True] for number in range(8)}


def test_the_example(served, texts):
    example = Path(__file__).parents[2] / "examples" / "service_client.py"
    command = [sys.executable, str(example), served.url, texts["passed"][0], texts["rejected"][0]]

    def run(key):
        environment = {**os.environ, "POISONSIEVE_API_KEY": key}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)

    first, second, waiting = run(KEY).stdout.splitlines()
    assert first.startswith("passed ") and second.startswith("poisoned    -") and "poisoned" in second[12:]
    assert waiting.endswith("rejected texts wait for a decision")
    refused = run("wrong" * 5)
    assert (refused.returncode, refused.stderr) == (2, "error: the service answered 401: wrong API key\n")


def test_importing_the_client_loads_no_model_library():
    code = "import poisonsieve.serve.client, sys; print([n for n in ('torch', 'fastapi', 'sqlalchemy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
