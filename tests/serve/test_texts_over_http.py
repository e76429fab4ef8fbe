"""Screening and classifying over real HTTP: the verdicts of the guard itself, within limits, for those with a key."""

import concurrent.futures
import gzip
import json
import lzma
import socket
import time
import zlib

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import make_database, serving

pytest_plugins = ["serving"]

KEY, OTHER = "k" * 20, "o" * 20
COMPRESSED = "the body is compressed; send it uncompressed, without Content-Encoding"
WIDE_ENCODINGS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


@pytest.fixture(scope="module")
def served(guarded, served_guard, request, tmp_path_factory):
    database = make_database(request, "sqlite", tmp_path_factory.mktemp("http"))
    with serving(guarded, database, max_text_chars=1000, max_request_texts=8) as running:
        yield running


def post(served, path, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return served.http.post(path, content=content, headers={"Content-Type": "application/json", **headers})


def assert_same(answer, verdict):
    """The service's verdict is the guard's; a confidence may differ in its last digits, for the batch was another."""
    expected = verdict.to_dict()
    for name in ("confidence", "score"):
        if expected[name] is not None:
            assert answer[name] == pytest.approx(expected[name], abs=1e-6)
            expected[name] = answer[name]
    assert answer == expected


@pytest.mark.parametrize("path", ["/v1/screen", "/v1/classify"])
def test_verdicts_are_the_guards_in_order(path, served, guarded, texts):
    asked = [texts["passed"][0], texts["rejected"][0], texts["passed"][1], texts["passed"][0]]
    answer = post(served, path, {"texts": asked}).json()
    assert set(answer) == {"request_id", "gamma", "verdicts"}
    assert answer["gamma"] == guarded.guard.threshold_.gamma
    expected = guarded.screen(asked) if path == "/v1/classify" else guarded.judge(asked)
    assert [verdict["rejected"] for verdict in answer["verdicts"]] == [False, True, False, False]
    for found, verdict in zip(answer["verdicts"], expected, strict=True):
        assert_same(found, verdict)
    assert (answer["verdicts"][0]["label"] is not None) == (path == "/v1/classify")
    assert answer["verdicts"][1]["label"] is None


def test_one_text_gives_a_list_of_one(served, texts):
    answer = post(served, "/v1/screen", {"text": texts["passed"][0]}).json()
    assert [verdict["verdict"] for verdict in answer["verdicts"]] == ["passed"]


def test_many_clients_each_get_their_own_verdicts(served, guarded, texts):
    known = texts["passed"][:20] + texts["rejected"][:10]
    expected = dict(zip(known, guarded.screen(known), strict=True))
    requests = [[known[(3 * i + j) % len(known)] for j in range(1 + i % 4)] for i in range(60)]

    def ask(asked):
        return post(served, "/v1/classify", {"texts": asked}).json()["verdicts"]

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, requests))
    for asked, answer in zip(requests, answers, strict=True):
        assert len(asked) == len(answer)
        for text, found in zip(asked, answer, strict=True):
            assert_same(found, expected[text])


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 422, "not JSON"),
        (b"{", 422, "not JSON"),
        (b"[" * 100_000, 422, "not JSON"),
        (b"1" * 5000, 422, "not JSON"),
        (b'{"text": "\xff"}', 422, "not UTF-8"),
        (b'{"text": "\xed\xa0\x80"}', 422, "not UTF-8"),
        (b'\xef\xbb\xbf{"text": "a"}', 422, "byte order mark"),
        *[('{"text": "a"}'.encode(name), 415, f"is {name[:6].upper()}") for name in WIDE_ENCODINGS],
        (b'{"text": "a fine film", "text": "nothing"}', 422, "a key stands twice"),
        (b'{"text": "a fine film", "t\\u0065xt": "nothing"}', 422, "one value would hide another"),
        (b'{"texts": ["a fine film"], "texts": ["nothing"]}', 422, "a key stands twice"),
        ([], 422, "either"),
        ({}, 422, "either"),
        ({"text": "a", "texts": ["a"]}, 422, "either"),
        ({"text": "a", "more": 1}, 422, "either"),
        ({"text": None}, 422, "text is not a string"),
        ({"texts": "a"}, 422, "texts must be a list"),
        ({"texts": []}, 422, "at least one"),
        ({"texts": ["a", 7]}, 422, "texts[1] is not a string"),
        ({"texts": ["a"] * 9}, 422, "send at most 8"),
        ({"text": "a" * 1001}, 422, "send at most 1000"),
    ],
)
def test_a_body_that_cannot_be_used_is_named(body, status, says, served):
    answer = post(served, "/v1/screen", body)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]


def test_only_json_is_read(served):
    plain = served.http.post("/v1/screen", content=b'{"text": "a"}', headers={"Content-Type": "text/plain"})
    assert plain.status_code == 415
    assert served.http.post("/v1/screen").status_code == 415
    answer = post(served, "/v1/screen", {"text": "a"}, **{"Content-Type": "application/json; charset=utf-8"})
    assert answer.status_code == 200


@given(
    keys=st.lists(st.sampled_from(["text", "texts", "a", "\u00e9"]), min_size=1, max_size=4),
    inside=st.booleans(),
    escaped=st.booleans(),
)
def test_a_key_that_stands_twice_is_refused_wherever_it_stands(keys, inside, escaped, served):
    pairs = ", ".join(f'{json.dumps(key, ensure_ascii=escaped)}: "a good film"' for key in keys)
    body = f'{{"texts": [{{{pairs}}}]}}' if inside else f"{{{pairs}}}"
    for path in ("/v1/screen", "/v1/explain", "/v1/quarantine/1/decision"):
        answer = post(served, path, body.encode())
        twice = "stands twice" in answer.json().get("detail", "")
        assert twice == (len(set(keys)) < len(keys)), (path, body)
        assert answer.status_code == 422 or not twice


@pytest.mark.parametrize(
    "encoding", ["gzip", "x-gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "aes128gcm"]
)
def test_a_body_that_is_said_to_be_encoded_is_refused(encoding, served):
    answer = post(served, "/v1/screen", {"text": "a"}, **{"Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["detail"]) == (415, COMPRESSED)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, lzma.compress])
@given(level=st.integers(0, 9), text=st.text(max_size=20))
def test_a_compressed_body_is_named_as_such(compress, level, text, served):
    levels = (
        {"preset": level}
        if compress is lzma.compress
        else {"level" if compress is zlib.compress else "compresslevel": level}
    )
    answer = post(served, "/v1/screen", compress(json.dumps({"text": text}).encode(), **levels))
    assert (answer.status_code, answer.json()["detail"]) == (415, COMPRESSED)


def test_an_identity_encoding_is_none(served):
    assert post(served, "/v1/screen", {"text": "a"}, **{"Content-Encoding": "identity"}).status_code == 200


@pytest.mark.parametrize(
    ("charset", "status"), [("utf-8", 200), ('"UTF-8"', 200), ("us-ascii", 200), ("utf-16", 415), ("latin-1", 415)]
)
def test_a_charset_that_the_text_would_be_read_otherwise_in_is_refused(charset, status, served):
    answer = post(
        served, "/v1/screen", {"text": "a"}, **{"Content-Type": f"application/json; v=1; charset={charset}"}
    )
    assert answer.status_code == status


def test_unknown_addresses_and_methods(served):
    assert served.http.get("/v1/none").status_code == 404
    assert served.http.get("/v1/screen").status_code == 405
    assert served.http.get("/v1/quarantine/1/decision").status_code == 405
    assert served.http.delete("/healthz").status_code == 405


def test_an_id_is_kept_if_it_is_harmless(served):
    answer = post(served, "/v1/screen", {"text": "a"}, **{"X-Request-ID": "order-7.b"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "order-7.b"
    odd = post(served, "/v1/screen", {"text": "a"}, **{"X-Request-ID": "a b\tc" * 30})
    assert odd.json()["request_id"].isalnum()


def test_the_guard_says_what_it_is(served, guarded):
    said = served.http.get("/v1/guard").json()
    assert (said["defense"], said["gamma"], said["frr"]) == ("psim", guarded.guard.threshold_.gamma, 0.1)
    assert (said["rule"], said["victim"], said["score_range"]) == ("frr", True, [0, 1])
    assert said["label_names"] == guarded.guard.label_names
    assert sum(said["histogram"]["counts"]) == said["calibration_rows"] == len(guarded.guard.calibration_.scores)
    assert len(said["histogram"]["edges"]) == len(said["histogram"]["counts"]) + 1
    assert said["histogram"]["edges"] == sorted(said["histogram"]["edges"])


def test_the_description_has_every_address_and_examples(served):
    described = served.http.get("/openapi.json").json()
    assert set(described["paths"]) == {
        *("/healthz", "/readyz", "/metrics", "/v1/screen", "/v1/classify", "/v1/explain", "/v1/guard", "/v1/stats"),
        "/v1/watch",
        *("/v1/quarantine", "/v1/quarantine/{number}", "/v1/quarantine/{number}/decision"),
        *("/v1/quarantine/groups", "/v1/quarantine/decisions"),
    }
    screen = described["paths"]["/v1/screen"]["post"]
    assert {"200", "401", "413", "422", "503", "504"} <= set(screen["responses"])
    assert set(screen["requestBody"]["content"]["application/json"]["examples"]) == {"one", "several"}


def test_answers_forbid_what_a_page_does_not_need(served):
    headers = post(served, "/v1/screen", {"text": "a"}).headers
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


class TestLimits:
    @pytest.fixture(scope="class")
    def served(self, guarded, served_guard, request, tmp_path_factory):
        database = make_database(request, "sqlite", tmp_path_factory.mktemp("limits"))
        limits = {"max_body_bytes": 2000, "max_held_bytes": 3000, "body_timeout_s": 1.0}
        with serving(guarded, database, **limits) as running:
            yield running

    def test_a_body_is_refused_before_it_is_read(self, served):
        with self.connect(served) as sock:
            sock.sendall(self.head(10**9))
            assert b" 413 " in sock.recv(200)  # not a byte of it was sent

    def test_a_body_of_unknown_length_is_refused_while_it_is_read(self, served):
        sent = []

        def chunks():
            for _ in range(1000):
                sent.append(1)
                yield b" " * 500
                time.sleep(0.005)

        try:
            answer = served.http.post(
                "/v1/screen", content=chunks(), headers={"Content-Type": "application/json"}
            ).status_code
        except httpx.WriteError:
            answer = 413  # the service hung up while we were still sending
        assert answer == 413
        assert len(sent) < 1000

    def test_a_body_that_does_not_arrive_is_not_waited_for(self, served):
        started = time.monotonic()
        with self.connect(served) as sock:
            sock.sendall(self.head(100) + b'{"te')
            assert b" 408 " in sock.recv(200)
        assert 0.9 < time.monotonic() - started < 10

    def test_what_all_unanswered_requests_hold_is_bounded_and_freed_again(self, served):
        with self.connect(served) as first, self.connect(served) as second:
            first.sendall(self.head(1900) + b" " * 1800)
            time.sleep(0.2)
            second.sendall(self.head(1900) + b" " * 1800)
            answer = second.recv(2000)
            assert b" 503 " in answer and b"retry-after: 1" in answer.lower()
        time.sleep(1.2)
        for _ in range(5):
            assert post(served, "/v1/screen", {"text": "a" * 1500}).status_code == 200

    def connect(self, served):
        return socket.create_connection(("127.0.0.1", httpx.URL(served.url).port), timeout=20)

    def head(self, length):
        lines = ["POST /v1/screen HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def test_without_a_victim_there_are_verdicts_only(guarded, served_guard, tmp_path):
    from poisonsieve import GuardedClassifier

    alone = GuardedClassifier(guarded.guard)
    with serving(alone, f"sqlite:///{tmp_path / 'q.sqlite'}") as served:
        assert post(served, "/v1/screen", {"text": "a film"}).status_code == 200
        refused = post(served, "/v1/classify", {"text": "a film"})
        assert (refused.status_code, "--victim" in refused.json()["detail"]) == (422, True)
        assert served.http.get("/v1/guard").json()["victim"] is False


class TestKeys:
    @pytest.fixture(scope="class")
    def key_file(self, tmp_path_factory):
        path = tmp_path_factory.mktemp("keys") / "keys.txt"
        path.write_text(f"# clients\n{OTHER}\n\n")
        return path

    @pytest.fixture(scope="class")
    def served(self, guarded, served_guard, request, tmp_path_factory, key_file):
        database = make_database(request, "sqlite", tmp_path_factory.mktemp("keyed"))
        with serving(guarded, database, api_keys=(KEY,), api_key_file=key_file) as running:
            yield running

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/v1/screen"),
            ("POST", "/v1/classify"),
            ("POST", "/v1/explain"),
            ("GET", "/v1/guard"),
            ("GET", "/v1/stats"),
            ("GET", "/v1/quarantine"),
            ("GET", "/v1/quarantine/1"),
            ("POST", "/v1/quarantine/1/decision"),
            ("GET", "/metrics"),
        ],
    )
    @pytest.mark.parametrize(
        "headers",
        [{}, {"X-API-Key": ""}, {"X-API-Key": KEY[:-1]}, {"X-API-Key": KEY + "k"}, {"Authorization": f"Basic {KEY}"}],
    )
    def test_no_key_no_answer(self, method, path, headers, served):
        answer = httpx.request(
            method, served.url + path, headers=headers, json={"text": "a"} if method == "POST" else None
        )
        assert answer.status_code == 401
        assert set(answer.json()) == {"detail"}
        assert KEY not in answer.text

    @pytest.mark.parametrize(
        "headers", [{"X-API-Key": KEY}, {"X-API-Key": OTHER}, {"Authorization": f"Bearer {KEY}"}]
    )
    def test_each_key_is_taken_in_either_header(self, headers, served):
        assert httpx.get(served.url + "/v1/guard", headers=headers).status_code == 200

    def test_the_watchers_need_none(self, served):
        for path in ("/healthz", "/readyz", "/openapi.json"):
            assert httpx.get(served.url + path).status_code == 200

    def test_keys_are_changed_without_a_restart(self, served, key_file):
        new = "n" * 20

        def status(key):
            return httpx.get(served.url + "/v1/guard", headers={"X-API-Key": key}).status_code

        key_file.write_text(f"{OTHER}\n{new}\n")
        time.sleep(1.1)
        assert (status(new), status(OTHER)) == (200, 200)
        key_file.write_text(f"{new}\n")
        time.sleep(1.1)
        assert (status(new), status(OTHER)) == (200, 401)
        key_file.write_text("short\n")  # a mistake in the file must lock nobody out
        time.sleep(1.1)
        assert status(new) == 200


def test_without_keys_a_foreign_name_is_refused(guarded, served_guard, tmp_path):
    from poisonsieve.serve.running import secured
    from poisonsieve.serve.settings import ServeSettings

    names = secured(ServeSettings(), "127.0.0.1", insecure=False).allowed_hosts
    with serving(guarded, f"sqlite:///{tmp_path / 'q.sqlite'}", allowed_hosts=names) as served:
        for host, status in [("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("evil.example", 403)]:
            assert served.http.get("/v1/guard", headers={"Host": host}).status_code == status, host
