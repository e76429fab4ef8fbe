"""Run the service: a socket, uvicorn, and logs that quote no text."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Iterator
from typing import TextIO

import uvicorn
from fastapi import FastAPI

from poisonsieve.errors import ConfigError, ServiceError
from poisonsieve.notices import hearing
from poisonsieve.serve.settings import ServeSettings
from poisonsieve.terminal import visible
from poisonsieve.waiting import aside, end_waiting

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
log = logging.getLogger("poisonsieve.serve")
# Database libraries are silenced because their warnings can quote what was sent to them.
_LEVELS = {
    "": logging.WARNING,
    "poisonsieve.serve": logging.INFO,
    "sqlalchemy": logging.CRITICAL,
    "psycopg": logging.CRITICAL,
}


def bound_kernel_cache() -> None:
    """Limit the cache of compiled kernels. Call before the first forward pass; the user's own limit takes precedence.

    oneDNN compiles some kernels (GELU) for every new batch shape, a quarter of a MiB each, and caches 1,024 of them:
    traffic with ever new shapes would add 250 MiB. Compiling them again takes no measurable time.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a service listening on this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def secured(settings: ServeSettings, host: str, *, insecure: bool) -> ServeSettings:
    """Return the settings for a service on this host; without keys, only certain host names are allowed on loopback.

    Args:
        settings: the given settings.
        host: host that the service listens on.
        insecure: run without keys where other machines can reach it.

    Raises:
        ConfigError: there are no keys beyond loopback without `insecure`, or keys with `insecure`.
    """
    if settings.has_keys:
        if insecure:
            raise ConfigError("API keys and --insecure-no-auth contradict each other; give only one of them")
        return settings
    if is_loopback(host):
        return settings.model_copy(update={"allowed_hosts": (*LOOPBACK_NAMES, host.lower())})
    if not insecure:
        raise ConfigError(
            f"--host {host} can be reached from other machines, and there are no API keys; give --api-key-file or "
            "POISONSIEVE_API_KEYS, or --insecure-no-auth if something in front of the service checks who calls"
        )
    return settings


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 picks a free one.

    Raises:
        ServiceError: the address is not available.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(found[0], found[1])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(found[4])
        sock.listen(2048)
    except OSError as error:
        raise ServiceError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port"
        ) from None
    return sock


def address_of(sock: socket.socket) -> str:
    """Return the address of a listening socket, as a browser takes it."""
    host, port = sock.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def run(app: FastAPI, sock: socket.socket, settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT; then answer accepted requests and return."""
    config = uvicorn.Config(
        app,
        http="h11",  # unlike httptools it bounds the size of a request's head
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # its lines contain the query, and so the reviewer's search text
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )
    _settle_memory()
    end_waiting()
    with logging_on_stderr():
        uvicorn.Server(config).run(sockets=[sock])


def _settle_memory() -> None:
    """Exclude everything loaded so far, about a million permanent objects, from garbage collection.

    The collector examines old objects only when they have grown by a quarter. Beside a loaded model, that quarter
    takes tens of thousands of requests, and the process would grow until then.
    """
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def logging_on_stderr() -> Iterator[None]:
    """Log to stderr: the service's own lines, notices raised in the block, and library warnings.

    Logging is restored afterwards, since stderr may be another stream by then.
    """
    root = logging.getLogger()
    handlers, levels = list(root.handlers), {name: logging.getLogger(name).level for name in _LEVELS}
    set_up_logs()
    try:
        with hearing(lambda text: log.warning("%s", text)):
            yield
    finally:
        root.handlers[:] = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class _BesideProgress(logging.StreamHandler[TextIO]):
    """A handler that takes the line away which says that the service loads, and brings it back below its own."""

    def emit(self, record: logging.LogRecord) -> None:
        with aside():
            super().emit(record)


class _Shown(logging.Formatter):
    """A formatter that makes terminal control codes visible."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def set_up_logs() -> None:
    """Send the service's log lines and the warnings of libraries to stderr."""
    handler = _BesideProgress(sys.stderr)
    handler.setFormatter(_Shown("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger().handlers[:] = [handler]
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
