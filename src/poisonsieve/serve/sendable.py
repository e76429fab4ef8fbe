"""Check the client's arguments before anything is sent."""

from __future__ import annotations

import math
import operator
from typing import Any

import httpx

from poisonsieve.errors import ConfigError, DataError

_LAST_PORT = 65_535


def http_client(url: str, api_key: str | None, timeout: float | None) -> httpx.Client:
    """Return an HTTP client for the address.

    Raises:
        ConfigError: the address, the key, the timeout, or a proxy named in the environment cannot be used. The
            message does not repeat it, since it may contain a password.
    """
    _require_address(url)
    headers = {} if api_key is None else {"X-API-Key": _key(api_key)}
    if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout < math.inf):
        raise ConfigError("timeout is not a number of seconds above 0")
    try:
        return httpx.Client(base_url=url, headers=headers, timeout=timeout)
    except (httpx.InvalidURL, ValueError, ImportError) as error:
        raise ConfigError(f"the proxy set in the environment cannot be used ({type(error).__name__})") from None


def retry_count(retries: int) -> int:
    """Return the number of retries.

    Raises:
        ConfigError: it is not a non-negative integer.
    """
    if not isinstance(retries, int) or retries < 0:
        raise ConfigError("retries must be 0 or a positive integer")
    return retries


def sendable(value: Any, name: str) -> str:
    """Return a string that a query can contain.

    Raises:
        DataError: it is not a string, or contains a lone surrogate, which a URL cannot encode.
    """
    try:
        string(value, name).encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{name} contains a lone surrogate, which UTF-8 cannot encode; leave it out") from None
    return str(value)


def string(value: Any, name: str) -> str:
    """Return a string for JSON, which can escape every character.

    Raises:
        DataError: it is not a string.
    """
    if not isinstance(value, str):
        raise DataError(f"{name} is {type(value).__name__}, not a string")
    return str.__str__(value)


def whole(value: Any, name: str) -> int:
    """Return an integer; numpy's integers are accepted too.

    Raises:
        DataError: it is not an integer.
    """
    try:
        return int(operator.index(value))
    except TypeError:
        raise DataError(f"{name} is {type(value).__name__}, not a whole number") from None


def _require_address(url: Any) -> None:
    try:
        parsed = httpx.URL(url if isinstance(url, str) else "")
        usable = parsed.scheme in ("http", "https") and 0 <= (parsed.port or 0) <= _LAST_PORT
        usable = usable and bool(parsed.host) and b"%20" not in parsed.raw_host and " " not in parsed.host
    except (httpx.InvalidURL, ValueError):
        usable = False
    if not usable:
        raise ConfigError("the address of the service is not a URL; give one such as http://127.0.0.1:8000")


def _key(key: Any) -> str:
    if not isinstance(key, str) or not (key.isascii() and key.isprintable()) or not key or key != key.strip():
        raise ConfigError("the API key must be printable ASCII without surrounding spaces")
    return key
