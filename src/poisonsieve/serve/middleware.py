"""Give every request an id, a log line, metrics, and an answer even if the code fails.

The log has method, route, status, time and id, of reads that succeed at level DEBUG only. It never has the raw path,
the query, a header, a body, or the message of an exception, since each could contain a text or a key.
"""

from __future__ import annotations

import logging
import re
import time
import traceback
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poisonsieve.serve.answers import json_response
from poisonsieve.serve.monitoring import Monitoring

log = logging.getLogger("poisonsieve.serve")
access = logging.getLogger("poisonsieve.serve.access")

_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CSP = "content-security-policy"
_PICTURES = "; img-src 'self' data:"  # Swagger UI's icons
_HEADERS = {
    _CSP: "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Watch:
    """The outermost layer of the application.

    Args:
        app: the application.
        monitoring: counts requests.
    """

    def __init__(self, app: ASGIApp, monitoring: Monitoring) -> None:
        self._app = app
        self._monitoring = monitoring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _GOOD_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0
        is_docs = scope["path"].startswith("/docs")

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value + _PICTURES if name == _CSP and is_docs else value)
                # The browser must revalidate the page (a 304 is enough), or an update would mix files of two versions.
                headers["cache-control"] = "no-store" if scope["path"].startswith("/v1/") else "no-cache"
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            status = status or 499
        except Exception as error:
            _log_failure(error, request_id)
            if status:
                raise  # part of the answer was sent; the server closes the connection
            await json_response({"detail": "internal error"}, 500)(scope, receive, sending)
        finally:
            self._account(scope, status, time.perf_counter() - started, request_id)

    def _account(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"
        self._monitoring.requests.labels(route, str(status)).inc()
        self._monitoring.seconds.labels(route).observe(seconds)
        method = scope["method"] if scope["method"].isalpha() and len(scope["method"]) < 10 else "?"
        # The page asks every two seconds, and monitors do: their lines would hide those on texts and decisions.
        polled = method in ("GET", "HEAD") and 200 <= status < 400
        level = logging.DEBUG if polled else logging.INFO
        access.log(level, "%s %s %d %.1f ms %s", method, route, status, 1000 * seconds, request_id)


def _log_failure(error: Exception, request_id: str) -> None:
    """Log where a request failed and the type of the error, but not its message."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    where = " < ".join(
        f"{frame.name} ({frame.filename.rpartition('/')[2]}:{frame.lineno})" for frame in reversed(frames)
    )
    log.error("request %s failed: %s in %s", request_id, type(error).__name__, where)
