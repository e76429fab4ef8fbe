"""What a client is given, checked before anything is sent: HTTP has no bytes for every string."""

from __future__ import annotations

import math
import operator
from typing import Any

import httpx

from poisonsieve.errors import ConfigError, DataError

_LAST_PORT = 65_535


def http_client(url: str, api_key: str | None, timeout: float | None) -> httpx.Client:
    """A client of that address.

    Raises:
        ConfigError: the address, the key, the time or a proxy that the environment names cannot be used. What was given
            is not repeated: there can be a password in it.
    """
    _require_address(url)
    headers = {} if api_key is None else {"X-API-Key": _key(api_key)}
    if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout < math.inf):
        raise ConfigError("timeout is not a number of seconds above 0")
    try:
        return httpx.Client(base_url=url, headers=headers, timeout=timeout)
    except (httpx.InvalidURL, ValueError, ImportError) as error:
        raise ConfigError(f"a proxy that the environment names cannot be used ({type(error).__name__})") from None


def retry_count(retries: int) -> int:
    """How often to try again.

    Raises:
        ConfigError: not a whole number from 0.
    """
    if not isinstance(retries, int) or retries < 0:
        raise ConfigError("retries is not a whole number from 0")
    return retries


def sendable(value: Any, name: str) -> str:
    """A string for a query.

    Raises:
        DataError: it is no string, or holds a lone surrogate, which no address can hold.
    """
    try:
        string(value, name).encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{name} holds a lone surrogate, which UTF-8 has no bytes for; leave it out") from None
    return str(value)


def string(value: Any, name: str) -> str:
    """A string for JSON, which has an escape for every character.

    Raises:
        DataError: it is none.
    """
    if not isinstance(value, str):
        raise DataError(f"{name} is {type(value).__name__}, not a string")
    return str.__str__(value)


def whole(value: Any, name: str) -> int:
    """A whole number, of numpy's too.

    Raises:
        DataError: it is none.
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
        raise ConfigError("the address of the service is no URL; give one such as http://127.0.0.1:8000")


def _key(key: Any) -> str:
    if not isinstance(key, str) or not (key.isascii() and key.isprintable()) or not key or key != key.strip():
        raise ConfigError("the API key is not printable ASCII without spaces around it, as every key of a service is")
    return key
