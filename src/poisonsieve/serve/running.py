"""Running the service: a socket, uvicorn, and a log that quotes nothing."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from poisonsieve.errors import ConfigError, ServiceError
from poisonsieve.notices import hearing
from poisonsieve.serve.settings import ServeSettings
from poisonsieve.terminal import visible

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
log = logging.getLogger("poisonsieve.serve")
# The root's first. A driver's warnings can quote what was sent to it.
_LEVELS = {
    "": logging.WARNING,
    "poisonsieve.serve": logging.INFO,
    "sqlalchemy": logging.CRITICAL,
    "psycopg": logging.CRITICAL,
}


def bound_kernel_cache() -> None:
    """Keep few compiled kernels. Call it before the first forward pass; a capacity that the user has set stays.

    oneDNN compiles some (GELU) anew for every shape of a batch, a quarter of a MiB each, and keeps 1,024 of them: traffic of
    ever new shapes would add 250 MiB. Compiling them again costs no time that can be measured.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def secured(settings: ServeSettings, host: str, *, insecure: bool) -> ServeSettings:
    """The settings for a service on this host. Without keys, browsers may call a loopback service by these names only.

    Args:
        settings: as they were given.
        host: where the service listens.
        insecure: run without keys where others can reach it.

    Raises:
        ConfigError: no keys, beyond loopback, and not `insecure`; or keys, and `insecure`.
    """
    if settings.has_keys:
        if insecure:
            raise ConfigError("API keys and --insecure-no-auth contradict each other; leave one out")
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
    """A listening socket; port 0 picks a free one.

    Raises:
        ServiceError: the address cannot be had.
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


def run(app: FastAPI, sock: socket.socket, settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was accepted and return."""
    config = uvicorn.Config(
        app,
        http="h11",  # unlike httptools it bounds the size of a request's head
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # its lines hold the query, and so what was searched for
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )
    _settle_memory()
    host, port = sock.getsockname()[:2]
    with logging_on_stderr():
        log.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        uvicorn.Server(config).run(sockets=[sock])


def _settle_memory() -> None:
    """Take what was loaded so far, a million objects that stay, out of what the garbage collector counts.

    It looks at old objects only once there are a quarter more of them. Beside a loaded model that quarter is what tens of
    thousands of requests leave behind, and the process grows until then.
    """
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def logging_on_stderr() -> Iterator[None]:
    """Log lines on stderr: the service's own, what it is warned of in the block, and the warnings of libraries.

    Afterwards logging is as it was: stderr may be another by then.
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


class _Shown(logging.Formatter):
    """Lines in which a terminal finds nothing to obey, whatever a library's message holds."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def set_up_logs() -> None:
    """Lines on stderr: the service's own, and the warnings of the libraries around it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Shown("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger().handlers[:] = [handler]
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
