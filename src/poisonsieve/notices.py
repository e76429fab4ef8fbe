"""Hearing what is warned of, whatever filters libraries have set.

Python's filters belong to the whole process: a library that ignores all warnings when it is imported, or
``PYTHONWARNINGS=ignore``, would silence ours too. A command and the service have to say them.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from poisonsieve.errors import PoisonsieveWarning


@contextlib.contextmanager
def hearing(say: Callable[[str], None]) -> Iterator[None]:
    """Hand the text of every `PoisonsieveWarning` in the block to `say`, once for each text; others go their way.

    Nested blocks: the innermost hears. It takes the place of `warnings.warn`, so a module has to call it by that name.
    """
    # Nothing of Python's own does this. `warnings.showwarning` is never asked about what a filter drops. A filter of ours
    # comes behind those that a library sets while the block runs, and libraries are imported then; and
    # `catch_warnings`, which would take ours away again, takes away theirs too, in all threads.
    plain = warnings.warn
    said: set[str] = set()

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
        elif str(message) not in said:
            said.add(str(message))
            say(str(message))

    warnings.warn = warn
    try:
        yield
    finally:
        warnings.warn = plain
