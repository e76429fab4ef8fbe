"""Receiving our own warnings, whatever filters libraries have set.

Python's warning filters are global: a library that ignores all warnings on import, or ``PYTHONWARNINGS=ignore``, would
silence ours too. The commands and the service must show them.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from poisonsieve.errors import PoisonsieveWarning


@contextlib.contextmanager
def hearing(say: Callable[[str], None]) -> Iterator[None]:
    """Pass the text of every `PoisonsieveWarning` in the block to `say`, once per text; other warnings are unaffected.

    Of nested blocks, the innermost receives the warnings. This replaces `warnings.warn`, so it must be called by that
    name.
    """
    # Python's own tools cannot do this. `warnings.showwarning` never sees what a filter drops. A filter of ours would
    # come after those that libraries set when imported inside the block; and `catch_warnings`, which would remove ours
    # again, would remove theirs too, in all threads.
    plain = warnings.warn
    heard: set[str] = set()

    def warn(
        message: Warning | str,
        category: type[Warning] | None = None,
        stacklevel: int = 1,
        source: Any | None = None,
        **more: Any,  # what later versions of Python take
    ) -> None:
        kind = type(message) if isinstance(message, Warning) else category
        if not (isinstance(kind, type) and issubclass(kind, PoisonsieveWarning)):
            plain(message, category, stacklevel + 1, source, **more)
        elif str(message) not in heard:
            heard.add(str(message))
            say(str(message))

    warnings.warn = warn
    try:
        yield
    finally:
        warnings.warn = plain
