"""The way to a Ray cluster, for grids and for bulk screening."""

from __future__ import annotations

import os
from typing import Any

from poisonsieve.errors import ConfigError, UnsupportedError


def connect(address: str | None, *, progress: bool) -> Any:
    """Ray, connected to the cluster at `address`, or to a new one on this machine.

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
