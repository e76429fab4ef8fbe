"""Errors a user can act on.

Every error that bad input can cause is a `PoisonsieveError` whose text is one line that says what is wrong and
what to do. The command line prints that line and exits with 2; anything else is a defect and keeps its traceback.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class PoisonsieveError(Exception):
    """Base class of all errors that the user, not the program, must fix."""


class ConfigError(PoisonsieveError):
    """A setting is unknown, out of range, or contradicts another."""


class DataError(PoisonsieveError):
    """A data set or one of its rows cannot be used; names the file and line where there is one."""


class AssetError(PoisonsieveError):
    """A packaged asset could not be fetched or is not the one that was verified."""


class HubError(PoisonsieveError):
    """The model or data hub cannot be reached or has no such id."""


class CheckpointError(PoisonsieveError):
    """A model folder is not a usable checkpoint, or not the one that is needed."""


class UnsafeWeightsError(CheckpointError):
    """The checkpoint holds weights or code in a format that can run code when loaded."""


class UnsupportedError(PoisonsieveError):
    """This model cannot do what was asked; names what it can do."""


class CalibrationError(PoisonsieveError):
    """The clean held-out rows cannot support the chosen false-rejection rate."""


class OutputError(PoisonsieveError):
    """The result could not be written; nothing half-written is left behind."""


class LaunchError(PoisonsieveError):
    """The processes that were to train one model together ended without a result."""


class CannotApplyError(DataError):
    """A trigger cannot be put into a text; it is counted, and the text stays out of what is triggered."""


class ServiceError(PoisonsieveError):
    """The service refused a request, or it could not be reached."""


class QuarantineError(PoisonsieveError):
    """The quarantine's database cannot be opened, read or written."""


class PoisonsieveWarning(UserWarning):
    """Something the user should know that stops nothing. Say it with ``warnings.warn(text, PoisonsieveWarning)``."""


@contextlib.contextmanager
def naming(key: str) -> Iterator[None]:
    """Put the key of a file before what an error says, unless it says so itself.

    Raises:
        ConfigError: in place of any error of ours.
    """
    try:
        yield
    except PoisonsieveError as error:
        if str(error).startswith(key):
            raise
        raise ConfigError(f"{key}: {error}") from None
