"""The metadata that poisonsieve saves with a checkpoint, in ``poisonsieve.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictInt, StrictStr

from poisonsieve.config import Spec, make_spec
from poisonsieve.errors import CheckpointError, ConfigError
from poisonsieve.models.safety import METADATA
from poisonsieve.parsing import read_json

#: A lower limit would leave only two or three words next to the special tokens.
FEWEST_TOKENS = 8


class Metadata(Spec):
    """Metadata of one checkpoint; every field may be missing, as for checkpoints written by other programs.

    Attributes:
        label_names: names of the K classes.
        max_length: number of tokens to which texts were truncated in training.
        base_source: for an adapter, where its base was.
        base_digest: for an adapter, sha256 of the base's weights.
        origins: sha256 of each ancestor's weights.
        bits: 4 if the base is frozen in 4 bits.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    label_names: Annotated[list[StrictStr], Field(min_length=1)] | None = None
    max_length: Annotated[StrictInt, Field(ge=FEWEST_TOKENS)] = 256
    base_source: StrictStr | None = None
    base_digest: StrictStr | None = None
    origins: tuple[StrictStr, ...] = ()
    bits: Literal[4] | None = None


def read_metadata(folder: Path) -> Metadata:
    """Read the metadata in a folder; empty if there is none.

    Raises:
        CheckpointError: the metadata are damaged.
    """
    path = folder / METADATA
    if not path.is_file():
        return Metadata()
    try:
        return make_spec(Metadata, **{str(key): value for key, value in read_json(path).items()})
    except ConfigError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
