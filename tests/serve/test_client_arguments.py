"""What the client is given and cannot send: one line before anything is sent."""

import httpx
import numpy as np
import pytest
from test_client import answering

from poisonsieve.errors import ConfigError, DataError, PoisonsieveError, ServiceError
from poisonsieve.serve.client import Client

pytest_plugins = ["serving"]


def refused(kind, call, *args, **options):
    with pytest.raises(kind) as found:
        call(*args, **options)
    assert isinstance(found.value, PoisonsieveError)
    assert str(found.value).isprintable()
    return str(found.value)


@pytest.fixture
def sent():
    """A client whose requests are all answered, and the requests."""
    client, requests = answering(httpx.Response(200, json={}))
    return client, requests


@pytest.mark.parametrize(
    "url",
    [
        *("", " ", "127.0.0.1:8000", "localhost", "localhost:8000", "ftp://x", "unix:///x", "file:///etc/passwd"),
        *(
            "http://",
            "http:///v1",
            "http://[::1",
            "http://a b",
            "http://127.0.0.1:99999",
            "http://x:port",
            "http://\0",
        ),
        *("http://h/\n", "http://h/\ud800", "http://\ud800", None, 3, b"http://127.0.0.1"),
    ],
)
def test_what_is_no_address_of_a_service_is_refused_at_once(url):
    assert "http://127.0.0.1:8000" in refused(ConfigError, Client, url)


def test_an_address_that_is_refused_does_not_show_its_password():
    assert "hunter22" not in refused(ConfigError, Client, "http://u:hunter22@h:port")


def test_no_answer_does_not_show_the_password():
    with Client("http://u:hunter22@127.0.0.1:9", retries=0) as lost:
        assert "hunter22" not in refused(ServiceError, lost.guard)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://example.org/guard/", "HTTP://h", "http://[::1]:80"])
def test_an_address_of_a_service_is_taken(url):
    Client(url).close()


@pytest.mark.parametrize(
    "key", ["", " ", "\n", "\u00e9" * 16, "k\r\nX: y", "k\0", "\ud800", " key", "key ", 3, b"key"]
)
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key):
    said = refused(ConfigError, Client, "http://127.0.0.1:9", api_key=key)
    assert "API key" in said
    assert "X: y" not in said


@pytest.mark.parametrize("options", [{"retries": -1}, {"retries": 1.5}, {"retries": "2"}, {"timeout": "long"}])
def test_other_options_are_checked(options):
    refused(ConfigError, Client, "http://127.0.0.1:9", **options)


@pytest.mark.parametrize("text", [b"a", 3, None, float("nan"), ["a"], {"a": 1}])
def test_only_a_string_is_explained(text, sent):
    client, requests = sent
    refused(DataError, client.explain, text)
    assert requests == []


@pytest.mark.parametrize(
    "query",
    [
        *({name: value} for name in ("contains", "decision") for value in ("\ud800", "a\udfff", None, 3, b"a")),
        *({name: value} for name in ("page", "size") for value in ("1", 1.5, None, "\ud800")),
    ],
)
def test_a_query_that_cannot_be_sent_is_refused(query, sent):
    client, requests = sent
    refused(DataError, client.quarantine, **query)
    assert requests == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("1/../2", "poison"),
        (1.0, "poison"),
        (None, "poison"),
        (1, {1}),
        (1, 2),
        (1, "poison", b"note"),
        (1, "poison", 3),
    ],
)
def test_a_decision_that_cannot_be_sent_is_refused(arguments, sent):
    client, requests = sent
    refused(DataError, client.decide, *arguments)
    assert requests == []


def test_what_can_be_sent_is_sent(sent):
    client, requests = sent
    client.quarantine(contains="\u4e2d & = %", page=np.int64(2), size=np.int32(5))
    client.decide(np.int64(3), "poison", "\ud800")
    client.explain("a \ud800")
    client.explain(np.str_("a"))
    assert [request.url.path for request in requests] == [
        *("/v1/quarantine", "/v1/quarantine/3/decision", "/v1/explain", "/v1/explain")
    ]
    assert dict(requests[0].url.params) == {"decision": "open", "q": "\u4e2d & = %", "page": "2", "size": "5"}
