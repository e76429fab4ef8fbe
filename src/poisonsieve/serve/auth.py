"""Access control: API keys or, without keys, allowed host names."""

from __future__ import annotations

import hmac
import time
from pathlib import Path

from starlette.requests import Request

from poisonsieve.errors import ConfigError
from poisonsieve.serve.bodies import Refused
from poisonsieve.serve.settings import ServeSettings

_MIN_KEY_CHARS = 16
_CHECK_EVERY_S = 1.0  # interval between checks of the key file


class Keys:
    """The keys in force: those of the settings, and those currently in the key file.

    Raises:
        ConfigError: the file cannot be read, there are no keys, or one is too short.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._fixed = tuple(_checked(key, "an API key") for key in settings.api_keys)
        self._file = settings.api_key_file
        self._seen: tuple[int, int, int] | None = None
        self._looked = 0.0
        self._from_file: tuple[bytes, ...] = ()
        if self._file is not None:
            self._from_file, self._seen = read_keys(self._file), _state(self._file)
        if settings.has_keys and not (self._fixed or self._from_file):
            raise ConfigError(f"{self._file} contains no API key; write one per line, or leave the option out")

    def accept(self, given: bytes) -> bool:
        """Tell whether `given` is one of the keys, in a time that does not depend on which one."""
        self._look_again()
        found = False
        for key in (*self._fixed, *self._from_file):
            found |= hmac.compare_digest(key, given)
        return found

    def _look_again(self) -> None:
        """Read the file again if it has changed; if it is missing or damaged, the last good keys stay in force."""
        now = time.monotonic()
        if self._file is None or now - self._looked < _CHECK_EVERY_S:
            return
        self._looked = now
        try:
            state = _state(self._file)
            if state != self._seen:
                self._from_file, self._seen = read_keys(self._file), state
        except (OSError, ConfigError):
            return


class Gate:
    """Admits or refuses requests.

    Args:
        settings: keys and allowed hosts.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._keys = Keys(settings) if settings.has_keys else None
        self._hosts = settings.allowed_hosts

    def check(self, request: Request) -> None:
        """Admit the request, or raise.

        Raises:
            Refused: the key is missing or wrong (401), or the host name is not allowed (403).
        """
        if self._keys is None:
            self._check_host(request)
            return
        given = request.headers.get("x-api-key")
        if given is None:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            given = token.strip() if scheme.lower() == "bearer" else None
        if given is None or not self._keys.accept(given.encode("latin-1", "replace")):
            detail = "send an API key as X-API-Key or as Authorization: Bearer" if given is None else "wrong API key"
            raise Refused(401, detail, {"WWW-Authenticate": "Bearer"})

    def _check_host(self, request: Request) -> None:
        """Check the host name: without keys, another site's page could reach a loopback service by a name of its own."""
        host = _host_name(request.headers.get("host", ""))
        if self._hosts is not None and host not in self._hosts:
            raise Refused(403, "this host name is not allowed without API keys; call the service by its address")


def read_keys(path: Path) -> tuple[bytes, ...]:
    """Read keys from a file, one per line; blank lines and lines that start with # are skipped.

    Raises:
        ConfigError: the file cannot be read, or a key is too short.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the API keys in {path}: {type(error).__name__}") from None
    keys = (line.strip() for line in lines)
    return tuple(_checked(key, f"a key in {path}") for key in keys if key and not key.startswith("#"))


def _checked(key: str, name: str) -> bytes:
    if len(key) < _MIN_KEY_CHARS or not key.isascii() or not key.isprintable():
        raise ConfigError(f"{name} is not {_MIN_KEY_CHARS} or more printable ASCII characters; make a longer one")
    return key.encode("ascii")


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _host_name(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
