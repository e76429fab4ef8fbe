"""What poisonsieve notes beside a checkpoint that it writes, in ``poisonsieve.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictInt, StrictStr

from poisonsieve.config import Spec, make_spec
from poisonsieve.errors import CheckpointError, ConfigError
from poisonsieve.models.safety import METADATA
from poisonsieve.parsing import read_json

#: A limit below this leaves two or three words beside the special tokens.
FEWEST_TOKENS = 8


class Metadata(Spec):
    """The notes of one checkpoint; every one may be missing, as all are beside a checkpoint from elsewhere.

    Attributes:
        label_names: names of its K classes.
        max_length: tokens a text was cut to when it was tuned.
        base_source: where the base of an adapter was.
        base_digest: sha256 of that base's weights.
        origins: sha256 of the weights it descends from.
        bits: 4 where its base is frozen in 4 bits.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    label_names: Annotated[list[StrictStr], Field(min_length=1)] | None = None
    max_length: Annotated[StrictInt, Field(ge=FEWEST_TOKENS)] = 256
    base_source: StrictStr | None = None
    base_digest: StrictStr | None = None
    origins: tuple[StrictStr, ...] = ()
    bits: Literal[4] | None = None


def read_metadata(folder: Path) -> Metadata:
    """The notes in a folder; empty ones where it has none.

    Raises:
        CheckpointError: they are damaged.
    """
    path = folder / METADATA
    if not path.is_file():
        return Metadata()
    try:
        return make_spec(Metadata, **{str(key): value for key, value in read_json(path).items()})
    except ConfigError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
