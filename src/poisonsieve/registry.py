"""Where attacks, defences, weight poisonings and tunings are found by name.

A plug-in is one file with one decorator::

    @register("attack", "badnet")
    class BadNet: ...

Packages outside this one can add attacks and defences. They declare an entry point in the group
``poisonsieve.plugins`` that names a module; importing that module runs its decorators. Modules of this package are
imported on the first look-up, so that importing `poisonsieve` costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Literal, TypeVar

from poisonsieve.errors import ConfigError

Kind = Literal["attack", "defense", "poisoning", "tuning"]
T = TypeVar("T")

_BUILTIN_MODULES: dict[Kind, str] = {
    "attack": "poisonsieve.attacks",
    "defense": "poisonsieve.defenses",
    "poisoning": "poisonsieve.attacks",
    "tuning": "poisonsieve.tuning",
}
_entries: dict[Kind, dict[str, Any]] = {kind: {} for kind in _BUILTIN_MODULES}
_loaded: set[str] = set()


def register(kind: Kind, name: str) -> Callable[[T], T]:
    """Decorator that makes a class or function available under `name`.

    Raises:
        ConfigError: `name` is taken by something else of the same kind.
    """

    def add(item: T) -> T:
        taken = _entries[kind].get(name)
        if taken is not None and taken is not item:
            raise ConfigError(f"the {kind} {name!r} is registered twice: {taken!r} and {item!r}; rename one")
        _entries[kind][name] = item
        return item

    return add


def get(kind: Kind, name: str) -> Any:
    """The item registered under `name`.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    _load(kind)
    if name not in _entries[kind]:
        raise ConfigError(f"unknown {kind} {name!r}; known: {', '.join(names(kind))}")
    return _entries[kind][name]


def names(kind: Kind) -> list[str]:
    """All registered names of one kind, sorted."""
    _load(kind)
    return sorted(_entries[kind])


def _load(kind: Kind) -> None:
    _import_once(_BUILTIN_MODULES[kind])
    if "plugins" not in _loaded:
        _loaded.add("plugins")
        for entry in entry_points(group="poisonsieve.plugins"):
            entry.load()


def _import_once(module: str) -> None:
    if module not in _loaded:
        importlib.import_module(module)
        _loaded.add(module)
