"""What a request says twice, or to nobody: two programs that read it would not read the same."""

import itertools
import json
import socket

import pytest
from serving import make_database, serving

pytest_plugins = ["serving"]

TEXTS = ["/v1/screen", "/v1/classify", "/v1/explain"]
JSON = ("Content-Type", "application/json")


@pytest.fixture(scope="module")
def served(guarded, served_guard, request, tmp_path_factory):
    with serving(guarded, make_database(request, "sqlite", tmp_path_factory.mktemp("once"))) as running:
        yield running


def refused(answer, *statuses):
    assert answer.status_code in statuses, answer.text
    assert set(answer.json()) == {"detail"}


KINDS = ["application/json", "text/plain", "application/json; charset=utf-16", "Application/JSON", ""]


@pytest.mark.parametrize("path", TEXTS)
@pytest.mark.parametrize("kinds", [pair for pair in itertools.product(KINDS, repeat=2) if JSON[1] in pair])
def test_a_content_type_that_stands_twice_is_refused(path, kinds, served):
    headers = [("Content-Type", kinds[0]), ("content-type", kinds[1])]
    refused(served.http.post(path, content=b'{"text": "good"}', headers=headers), 400, 415)


@pytest.mark.parametrize("encodings", itertools.product(["identity", "gzip", ""], repeat=2))
def test_a_content_encoding_that_stands_twice_is_refused(encodings, served):
    headers = [JSON, *(("Content-Encoding", encoding) for encoding in encodings)]
    refused(served.http.post("/v1/screen", content=b'{"text": "good"}', headers=headers), 400, 415)


@pytest.mark.parametrize("lengths", [("16", "17"), ("17", "16"), ("16", "0"), ("16", "16, 17"), ("16", "16")])
def test_a_content_length_that_stands_twice_is_never_two_lengths(lengths, served):
    body = json.dumps({"text": "good"}).encode()
    assert len(body) == 16
    head = ["POST /v1/screen HTTP/1.1", "Host: 127.0.0.1", "Connection: close", ": ".join(JSON)]
    head += [f"Content-Length: {length}" for length in lengths]
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.sendall("\r\n".join([*head, "", ""]).encode() + body)
        answer = b""
        while chunk := sock.recv(65_536):
            answer += chunk
    same = len(set(lengths)) == 1  # HTTP has them read as one
    assert int(answer.split()[1]) in ((200, 400) if same else (400,)), answer


@pytest.mark.parametrize("path", [*TEXTS, "/v1/quarantine/1/decision"])
@pytest.mark.parametrize("query", ["text=b", "texts=a", "x=1", "text", "=", "%00=1", "decision=poison", "a=1&a=2"])
def test_a_parameter_that_nobody_reads_is_refused(path, query, served):
    content = b'{"decision": null}' if "decision" in path else b'{"text": "good"}'
    refused(served.http.post(f"{path}?{query}", content=content, headers=[JSON]), 422)


@pytest.mark.parametrize("query", ["Page=2", "decison=poison", "page=1&unknown=1", "q=a&text=b"])
def test_a_list_with_a_parameter_it_does_not_know_is_refused(query, served):
    refused(served.http.get(f"/v1/quarantine?{query}"), 422)


@pytest.mark.parametrize("path", TEXTS)
@pytest.mark.parametrize("ending", ["", "?"])
def test_what_is_said_once_is_taken(path, ending, served):
    headers = [JSON, ("Content-Encoding", "identity")]
    assert served.http.post(path + ending, content=b'{"text": "good"}', headers=headers).status_code == 200
    assert served.http.get("/v1/quarantine?decision=all&q=a&page=1&size=2").status_code == 200
