"""A client of the service, for programs in Python.

::

    with Client("http://127.0.0.1:8000", api_key="...") as guard:
        for verdict in guard.classify(["a fine film", "a fine mn film"]):
            print(verdict.outcome, verdict.label_name)
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, overload

import httpx

from poisonsieve.errors import ServiceError
from poisonsieve.parsing import parse_json
from poisonsieve.serve.received import verdicts_of
from poisonsieve.serve.sendable import http_client, retry_count, sendable, string, whole
from poisonsieve.terminal import one_line
from poisonsieve.texts import Table, as_texts
from poisonsieve.verdict import Verdict

_AGAIN = (429, 503)
_LONGEST_WAIT_S = 30.0


class Client:
    """Calls a running service. Threads may share one client.

    Args:
        url: address of the service, such as ``http://127.0.0.1:8000``.
        api_key: sent as ``X-API-Key``; None if the service needs none.
        timeout: seconds to wait for an answer.
        retries: how often to send a request again if the service has no room or cannot be reached, each time after
            the seconds that the service requests. A request whose answer was lost may be screened twice.

    Raises:
        ConfigError: the address is not a URL, the key cannot be sent in a header, or another argument is out of
            range.
    """

    def __init__(self, url: str, *, api_key: str | None = None, timeout: float = 60.0, retries: int = 2) -> None:
        self._retries = retry_count(retries)
        self._http = http_client(url, api_key, timeout)

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @overload
    def screen(self, texts: Sequence[str]) -> list[Verdict]: ...
    @overload
    def screen(self, texts: Table, *, column: str | None = None) -> list[Verdict]: ...
    def screen(self, texts: Sequence[str] | Table, *, column: str | None = None) -> list[Verdict]:
        """Return the guard's verdicts, in order.

        Args:
            texts: strings in a list or any other ordered container, such as a pandas Series; or a `datasets.Dataset` or
                pandas frame.
            column: column of the texts in a data set or frame. None: `text` or `sentence`, whichever there is.

        Raises:
            DataError: `texts` contains something other than strings or has no order, or there is no such column.
            ServiceError: the service refused, could not be reached, or gave no verdicts; then no text has one.
        """
        return self._verdicts("/v1/screen", as_texts(texts, column))

    @overload
    def classify(self, texts: Sequence[str]) -> list[Verdict]: ...
    @overload
    def classify(self, texts: Table, *, column: str | None = None) -> list[Verdict]: ...
    def classify(self, texts: Sequence[str] | Table, *, column: str | None = None) -> list[Verdict]:
        """Return the guard's verdicts, with the victim's class of texts that pass; arguments as in `screen`.

        Raises:
            DataError, ServiceError: see `screen`. Also if the service has no victim.
        """
        return self._verdicts("/v1/classify", as_texts(texts, column))

    def explain(self, text: str) -> dict[str, Any]:
        """Return how much the confidence of a text depends on each word; see ``POST /v1/explain``.

        Raises:
            DataError, ServiceError: see `screen`.
        """
        return self._call("POST", "/v1/explain", {"text": string(text, "the text")})

    def guard(self) -> dict[str, Any]:
        """Return the guard in force; see ``GET /v1/guard``."""
        return self._call("GET", "/v1/guard")

    def stats(self) -> dict[str, Any]:
        """Return the service's traffic; see ``GET /v1/stats``."""
        return self._call("GET", "/v1/stats")

    def watch(self) -> dict[str, Any]:
        """Return whether the latest traffic holds a campaign; see ``GET /v1/watch``."""
        return self._call("GET", "/v1/watch")

    def quarantine(
        self,
        *,
        decision: str = "open",
        contains: str = "",
        group: str = "",
        cause: str = "",
        page: int = 1,
        size: int = 50,
    ) -> dict[str, Any]:
        """Return a page of rejected texts; see ``GET /v1/quarantine``.

        Raises:
            DataError: an argument has the wrong type, or contains a lone surrogate, which a query cannot encode.
            ServiceError: as in `screen`.
        """
        query: dict[str, str | int] = {
            **{"decision": sendable(decision, "decision"), "q": sendable(contains, "contains")},
            **({"group": sendable(group, "group")} if group else {}),
            **({"cause": sendable(cause, "cause")} if cause else {}),
            **{"page": whole(page, "page"), "size": whole(size, "size")},
        }
        return self._call("GET", "/v1/quarantine", query=query)

    def decide(self, number: int, decision: str | None, note: str | None = None) -> dict[str, Any]:
        """Decide that a record is ``poison`` or a ``false_alarm``; None takes the decision back.

        Raises:
            DataError: an argument has the wrong type.
            ServiceError: there is no such record, or as in `screen`.
        """
        body = {
            "decision": None if decision is None else string(decision, "decision"),
            "note": None if note is None else string(note, "note"),
        }
        return self._call("POST", f"/v1/quarantine/{whole(number, 'number')}/decision", body)

    def groups(self) -> dict[str, Any]:
        """Return what rejected texts have in common; see ``GET /v1/quarantine/groups``."""
        return self._call("GET", "/v1/quarantine/groups")

    def decide_all(self, numbers: Sequence[int], decision: str | None, *, was: str | None = None) -> list[int]:
        """Decide several records whose present decision is `was`; return the ids that were changed.

        Raises:
            DataError: an argument has the wrong type.
            ServiceError: as in `screen`.
        """
        body = {
            "ids": [whole(number, "number") for number in numbers],
            "decision": None if decision is None else string(decision, "decision"),
            "was": None if was is None else string(was, "was"),
        }
        changed: list[int] = self._call("POST", "/v1/quarantine/decisions", body)["changed"]
        return changed

    def _verdicts(self, path: str, texts: list[str]) -> list[Verdict]:
        if not texts:
            return []
        answer = self._call("POST", path, {"texts": texts})
        return verdicts_of(answer, len(texts), classified=path == "/v1/classify")

    def _call(
        self, method: str, path: str, body: Any = None, *, query: dict[str, str | int] | None = None
    ) -> dict[str, Any]:
        # ASCII, because a text may contain a lone surrogate, which JSON can escape but UTF-8 cannot encode.
        content = None if body is None else json.dumps(body, ensure_ascii=True).encode("ascii")
        headers = {} if content is None else {"Content-Type": "application/json"}
        for left in range(self._retries, -1, -1):
            try:
                response = self._http.request(method, path, content=content, headers=headers, params=query)
            except httpx.HTTPError as error:
                if left and isinstance(error, httpx.ConnectError):
                    time.sleep(1.0)
                    continue
                where = self._http.base_url.copy_with(username=None, password=None)
                raise ServiceError(f"no answer from {where}: {type(error).__name__}") from None
            if response.status_code in _AGAIN and left:
                time.sleep(_wait(response))
                continue
            return _content(response)
        raise AssertionError("the last turn returns or raises")


def _wait(response: httpx.Response) -> float:
    retry_after = response.headers.get("retry-after", "")
    return min(_LONGEST_WAIT_S, float(retry_after)) if retry_after.isdecimal() else 1.0


def _content(response: httpx.Response) -> dict[str, Any]:
    try:
        content = parse_json(response.content)
    except (ValueError, RecursionError):
        content = None
    if response.status_code == 200:  # the only status of a complete answer
        if isinstance(content, dict):
            return content
        raise ServiceError(f"the service answered {response.status_code} without a JSON object; is it poisonsieve?")
    detail = content.get("detail") if isinstance(content, dict) else None
    reason = one_line(detail or response.reason_phrase)
    raise ServiceError(f"the service answered {response.status_code}: {reason}")
