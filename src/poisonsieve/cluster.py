"""Connecting to a Ray cluster, for grids and for bulk screening."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from poisonsieve.errors import ConfigError, PoisonsieveError, UnsupportedError


def connect(address: str | None, *, progress: bool) -> Any:
    """Connect to the Ray cluster at `address`, or start one on this machine; return the module `ray`.

    Raises:
        UnsupportedError: Ray is not installed.
        ConfigError: there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UnsupportedError('--engine ray needs Ray; pip install "poisonsieve[ray]"') from None
    try:
        if address is None:  # "local": without it, Ray would look for whatever cluster ran here last
            ray.init(address="local", include_dashboard=False, log_to_driver=progress, logging_level="warning")
        else:
            ray.init(address=address, log_to_driver=progress, logging_level="warning")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"no Ray cluster at {address or 'this machine'} ({' '.join(str(error).split())}); one with token "
            "authentication needs RAY_AUTH_MODE=token here too"
        ) from None
    return ray


def require_room(ray: Any, cpus: float, gpus: float) -> None:
    """Refuse a task that fits no node: it would wait for ever.

    Args:
        ray: connected.
        cpus: that one task asks for.
        gpus: the same, and shares of one.

    Raises:
        ConfigError: names the largest node.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        most = {kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU")}
        raise ConfigError(
            f"resources: a stage asks for {cpus:g} processors and {gpus:g} GPUs, and no node has that; the largest has "
            f"{most['CPU']:g} and {most['GPU']:g}"
        )


@contextlib.contextmanager
def telling_cause() -> Iterator[None]:
    """Re-raise a worker's own error, for which Ray would show the worker's traceback.

    Raises:
        PoisonsieveError: the error that a worker raised.
    """
    try:
        yield
    except Exception as error:
        cause = _cause(error)
        if cause is None:
            raise
        # Ray adds lines of its own to the message.
        raise type(cause)((str(cause).splitlines() or [""])[0]) from None


@contextlib.contextmanager
def no_tracebacks(progress: bool) -> Iterator[None]:
    """Keep Ray Data's error logs off the screen: the error is raised anyway, and Ray's log file has the details."""

    def shown(record: logging.LogRecord) -> bool:
        return progress and record.levelno < logging.ERROR

    screens = [handler for handler in logging.getLogger("ray.data").handlers if _is_screen(handler)]
    for handler in screens:
        handler.addFilter(shown)
    try:
        yield
    finally:
        for handler in screens:
            handler.removeFilter(shown)


def _is_screen(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) or type(handler).__name__ == "PlainRayHandler"


def _cause(error: BaseException | None) -> PoisonsieveError | None:
    """Return our first error behind Ray's; Ray's wrappers subclass our errors too, with a traceback as the message."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        found = waiting.pop(0)
        if found is None or found in seen:
            continue
        if isinstance(found, PoisonsieveError) and not hasattr(found, "cause"):
            return found
        seen.append(found)
        waiting += [getattr(found, "cause", None), found.__cause__, found.__context__]
    return None
