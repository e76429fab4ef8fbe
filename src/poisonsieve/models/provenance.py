"""Where a classifier's weights come from: what its descent and its identity are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Provenance:
    """What is known of the origin of a classifier's weights; nothing, of a network that was not read from files.

    Attributes:
        source: what the user called it: a packaged alias, a folder, or a hub id.
        base_folder: the local folder that the whole model's weights were read from; of an adapter, its base's.
        base_digest: sha256 of those weights.
        origins: sha256 of the weights it descends from, its own base's last; empty for weights of unknown descent.
        identity: sha256 over all files that decide what it computes.
        bits: 4 where the base is frozen in 4 bits, or is to be opened so again; else None.
        untrained: names of weights that the checkpoint did not hold: they are random and have to be trained.
    """

    source: str = ""
    base_folder: Path | None = None
    base_digest: str = ""
    origins: tuple[str, ...] = ()
    identity: str = ""
    bits: int | None = None
    untrained: tuple[str, ...] = ()
