"""Constructor arguments for the plug-ins whose own defaults need a file, weights or a download.

The contract suites build every plug-in with its defaults. One that cannot be built so in a test without a network is
listed here: name -> a function that gets pytest's `tmp_path_factory` and gives the keyword arguments.
"""

from collections.abc import Callable
from typing import Any

from poisonsieve import registry
from tiny_parser import tiny_parser

ATTACKS: dict[str, Callable[[Any], dict[str, Any]]] = {"synattack-rules": lambda _: {"parser": tiny_parser()}}
DEFENSES: dict[str, Callable[[Any], dict[str, Any]]] = {"scpd-rules": lambda _: {"parser": tiny_parser()}}

#: Triggers that make one text of a text, whatever the random generator says; each says so in its docstring.
WITHOUT_CHANCE: set[str] = set()


def make(kind: registry.Kind, name: str, tmp_path_factory: Any) -> Any:
    """The registered plug-in, built with its defaults or with the arguments listed here."""
    listed = {"attack": ATTACKS, "defense": DEFENSES}[kind].get(name)
    return registry.get(kind, name)(**(listed(tmp_path_factory) if listed else {}))
