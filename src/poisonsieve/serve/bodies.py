"""Read request bodies within limits, and parse them by hand.

A text may contain anything that JSON can express, lone surrogates included: the guard must reject it with a reason,
rather than a web framework fail on it. And the application behind the service must read the same text as the guard. A
key may therefore occur only once, and a body must be plain UTF-8, neither compressed nor in another encoding.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request

from poisonsieve.parsing import RepeatedKeyError, parse_json
from poisonsieve.serve.monitoring import Monitoring
from poisonsieve.serve.quarantine import Decision, storable
from poisonsieve.serve.settings import ServeSettings

MAX_NOTE_CHARS = 2000
MAX_IDS = 2000
_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
#: First bytes of gzip, zstd, xz and zlib; JSON never starts with them.
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_ONCE = ("Content-Type", "Content-Encoding", "Content-Length")
_UNCOMPRESSED = "the body is compressed; send it uncompressed, without Content-Encoding"


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """A request that is answered with an error.

    Attributes:
        status: the HTTP status.
        detail: what is wrong, without quoting the request's text.
        headers: headers of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


class Bodies:
    """Reads JSON bodies. The total size of the bodies of all unanswered requests is bounded."""

    def __init__(self, settings: ServeSettings, monitoring: Monitoring) -> None:
        self._settings = settings
        self._monitoring = monitoring
        self._held = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[Any]:
        """Read and parse the body. Its bytes count as held until the block ends.

        Raises:
            Refused: a header about the body is repeated (400), or the body is too large (413), compressed or not
                UTF-8 (415), not JSON (415, 422), repeats a key (422), or is too slow (408), or there is no room
                (503).
        """
        _check_headers(request.headers)
        taken = [0]
        try:
            yield _parse(await self._in_time(request, taken))
        finally:
            self._held -= taken[0]

    async def _in_time(self, request: Request, taken: list[int]) -> bytearray:
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                return await self._all(request, taken)
        except TimeoutError:
            raise Refused(408, "the body did not arrive in time", {"Connection": "close"}) from None

    async def _all(self, request: Request, taken: list[int]) -> bytearray:
        limit = self._settings.max_body_bytes
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            raise _too_large(limit)
        raw = bytearray()
        async for chunk in request.stream():
            if len(raw) + len(chunk) > limit:
                raise _too_large(limit)
            if self._held + len(chunk) > self._settings.max_held_bytes:
                self._monitoring.shed.labels("bytes").inc()
                raise Refused(
                    503, "too many bytes are waiting; try again", {"Retry-After": "1", "Connection": "close"}
                )
            self._held += len(chunk)
            taken[0] += len(chunk)
            raw += chunk
        return raw


def texts_of(body: Any, settings: ServeSettings) -> list[str]:
    """Return the texts of ``{"text": str}`` or ``{"texts": [str, ...]}``.

    Raises:
        Refused: it is anything else, or has more or longer texts than the settings allow (422).
    """
    if not isinstance(body, dict) or set(body) not in ({"text"}, {"texts"}):
        raise Refused(422, 'send an object with either "text" or "texts", and nothing else')
    if "text" in body:
        return [_checked(body["text"], "text", settings)]
    texts = body["texts"]
    if not isinstance(texts, list) or not texts:
        raise Refused(422, "texts must be a list with at least one string")
    if len(texts) > settings.max_request_texts:
        raise Refused(422, f"there are {len(texts)} texts; send at most {settings.max_request_texts} in a request")
    return [_checked(text, f"texts[{index}]", settings) for index, text in enumerate(texts)]


def text_of(body: Any, settings: ServeSettings) -> str:
    """Return the text of ``{"text": str}``.

    Raises:
        Refused: it is anything else, or a longer text than the settings allow (422).
    """
    if not isinstance(body, dict) or set(body) != {"text"}:
        raise Refused(422, 'send an object with "text", and nothing else')
    return _checked(body["text"], "text", settings)


def decision_of(body: Any) -> tuple[Decision | None, str | None]:
    """Return decision and note of ``{"decision": "poison" | "false_alarm" | null, "note": str | null}``.

    Raises:
        Refused: it is anything else (422).
    """
    if not isinstance(body, dict) or "decision" not in body or set(body) - {"decision", "note"}:
        raise Refused(422, 'send an object with "decision" and optionally "note", and nothing else')
    decision, note = _decision(body["decision"], "decision"), body.get("note")
    if note is not None and not isinstance(note, str):
        raise Refused(422, "note must be a string or null")
    if note is not None and (len(note) > MAX_NOTE_CHARS or storable(note) != note):
        raise Refused(422, f"note must have at most {MAX_NOTE_CHARS} characters, without NUL or lone surrogates")
    return decision, note


def decisions_of(body: Any) -> tuple[list[int], Decision | None, Decision | None]:
    """Return ids, decision and present decision of ``{"ids": [int, ...], "decision": ..., "was": ...}``.

    Raises:
        Refused: it is anything else (422).
    """
    if not isinstance(body, dict) or set(body) != {"ids", "decision", "was"}:
        raise Refused(422, 'send an object with "ids", "decision" and "was", and nothing else')
    ids = body["ids"]
    if not isinstance(ids, list) or not 0 < len(ids) <= MAX_IDS or not all(map(_is_id, ids)):
        raise Refused(422, f"ids must be a list of 1 to {MAX_IDS} ids of records")
    return ids, _decision(body["decision"], "decision"), _decision(body["was"], "was")


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**63


def _decision(value: Any, name: str) -> Decision | None:
    if value not in ("poison", "false_alarm", None):
        raise Refused(422, f"{name} must be poison, false_alarm or null")
    decision: Decision | None = value
    return decision


def _checked(text: Any, name: str, settings: ServeSettings) -> str:
    if not isinstance(text, str):
        raise Refused(422, f"{name} is not a string")
    if len(text) > settings.max_text_chars:
        raise Refused(422, f"{name} has {len(text)} characters; send at most {settings.max_text_chars}")
    return text


def _too_large(limit: int) -> Refused:
    return Refused(413, f"the body is larger than {limit} bytes; send fewer texts at a time", {"Connection": "close"})


def _check_headers(headers: Headers) -> None:
    for name in _ONCE:
        if len(headers.getlist(name)) > 1:
            raise Refused(400, f"the header {name} stands twice; one value would hide another")
    kind, _, parameters = headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/json":  # another site's page cannot send this type without permission
        raise Refused(415, "send Content-Type: application/json")
    for parameter in parameters.lower().split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(' "') not in _CHARSETS:
            raise Refused(415, "Content-Type names another charset than UTF-8; send JSON in UTF-8")
    encodings = ",".join(headers.getlist("content-encoding")).lower().split(",")
    if {encoding.strip() for encoding in encodings} - {"", "identity"}:
        raise Refused(415, _UNCOMPRESSED)


def _parse(raw: bytearray) -> Any:
    if raw.startswith(_COMPRESSED):
        raise Refused(415, _UNCOMPRESSED)
    encoding = json.detect_encoding(raw)
    if not encoding.startswith("utf-8"):
        raise Refused(415, f"the body is {encoding[:6].upper()}; send JSON in UTF-8")
    if encoding == "utf-8-sig":
        raise Refused(422, "the body starts with a byte order mark; remove it")
    try:
        return parse_json(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise Refused(422, "the body is not UTF-8") from None
    except RepeatedKeyError:
        raise Refused(422, "a key stands twice in one object; one value would hide another") from None
    except (ValueError, RecursionError):
        raise Refused(422, "the body is not JSON") from None
