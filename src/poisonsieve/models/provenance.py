"""The origin of a classifier's weights, by which its descent and identity are judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Provenance:
    """The origin of a classifier's weights; all fields are empty for a network that was not read from files.

    Attributes:
        source: the user's name for it: a packaged alias, a folder, or a hub id.
        base_folder: local folder of the whole model's weights; for an adapter, its base's.
        base_digest: sha256 of those weights.
        origins: sha256 of each ancestor's weights, its own base last; empty for weights of unknown descent.
        identity: sha256 over all files that determine what it computes.
        bits: 4 if the base is frozen in 4 bits or must be opened so again; else None.
        untrained: names of weights missing from the checkpoint, which are random until trained.
    """

    source: str = ""
    base_folder: Path | None = None
    base_digest: str = ""
    origins: tuple[str, ...] = ()
    identity: str = ""
    bits: int | None = None
    untrained: tuple[str, ...] = ()
