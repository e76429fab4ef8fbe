"""The registry of attacks, defences, weight poisonings and tunings by name.

A plug-in is one file with one decorator::

    @register("attack", "shout", aliases=["exclaim"])
    class Shout: ...

Packages outside this one can add attacks and defences. They declare an entry point in the group
``poisonsieve.plugins`` that names a module; importing that module runs its decorators. Modules of this package are
imported on the first look-up, so that importing `poisonsieve` is fast.

An alias is another established name for the same thing. It is accepted wherever the registered name is, and replaced by
that name at once: nothing stored, hashed or shown contains an alias.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Collection, Iterator
from importlib.metadata import EntryPoints, entry_points
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
#: Alias to registered name. This package's aliases are listed here because a grid is checked without importing the
#: modules, which import torch. Those of plug-ins are added as they register.
_aliases: dict[Kind, dict[str, str]] = {
    "attack": {
        "badnets": "badnet",
        "addsent": "insent",
        "synbkd": "synattack-rules",
        "hiddenkiller": "synattack-rules",
    },
    "defense": {},
    "poisoning": {"ripples": "ripple", "lwp": "layerwise"},
    "tuning": {},
}
#: Arguments whose values are names joined by ``+``, with the kind of those names.
_NAMES_WITHIN: dict[tuple[Kind, str, str], Kind] = {
    ("attack", "multi", "of"): "attack",
    ("defense", "combined", "of"): "defense",
    ("defense", "cascade", "of"): "defense",
}
_loaded: set[str] = set()


def register(kind: Kind, name: str, *, aliases: Collection[str] = ()) -> Callable[[T], T]:
    """Register a class or function under `name` and its aliases (decorator).

    Raises:
        ConfigError: `name` or an alias is taken by something else of the same kind.
    """

    def add(item: T) -> T:
        taken = _entries[kind].get(name)
        if taken is not None and taken is not item:
            raise ConfigError(f"the {kind} {name!r} is registered twice: {taken!r} and {item!r}; rename one")
        if name in _aliases[kind]:
            raise ConfigError(f"the {kind} {name!r} is another name of {_aliases[kind][name]!r} already; rename it")
        for alias in aliases:
            _require_free(kind, alias, name)
        _aliases[kind].update(dict.fromkeys(aliases, name))
        _entries[kind][name] = item
        return item

    return add


def _require_free(kind: Kind, alias: str, name: str) -> None:
    owner = alias if alias in _entries[kind] or alias == name else _aliases[kind].get(alias, name)
    if owner != name or alias == name:
        raise ConfigError(
            f"the {kind} {name!r} cannot be called {alias!r} too: that is {owner!r}; leave the alias out"
        )


@contextlib.contextmanager
def scratch() -> Iterator[None]:
    """Undo registrations made inside the block, for tests of plug-ins."""
    for kind in _BUILTIN_MODULES:  # load now, so that built-in entries are kept
        _load(kind)
    tables: list[dict[Kind, dict[str, Any]]] = [_entries, _aliases]
    before = [{kind: dict(items) for kind, items in table.items()} for table in tables]
    try:
        yield
    finally:
        for table, kept in zip(tables, before, strict=True):
            table.update(kept)


def get(kind: Kind, name: str) -> Any:
    """Return the item registered under a name or alias.

    Raises:
        ConfigError: there is none; the message lists the known names.
    """
    _load(kind)
    own = own_name(kind, name)
    if own not in _entries[kind]:
        raise ConfigError(f"unknown {kind} {name!r}; known: {', '.join(names(kind))}")
    return _entries[kind][own]


def names(kind: Kind) -> list[str]:
    """Return all registered names of one kind, sorted, without aliases."""
    _load(kind)
    return sorted(_entries[kind])


def aliases_of(kind: Kind, name: str) -> list[str]:
    """Return the aliases of a registered name, sorted."""
    _load(kind)
    return sorted(alias for alias, own in _aliases[kind].items() if own == name)


def own_name(kind: Kind, name: str) -> str:
    """Replace an alias by the registered name; return any other name unchanged.

    This imports nothing unless there are plug-ins, which may have their own aliases.
    """
    if _plugins():
        _load(kind)
    return _aliases[kind].get(name, name)


def own_value(kind: Kind, name: str, argument: str, value: Any) -> Any:
    """Replace aliases in an argument's value if it contains names, such as ``badnets+addsent`` for ``multi:of``."""
    within = _NAMES_WITHIN.get((kind, name, argument))
    if within is None or not isinstance(value, str):
        return value
    parts = [(part, own_name(within, part.strip())) for part in value.split("+")]
    return "+".join(part if own == part.strip() else own for part, own in parts)


def own_text(kind: Kind, text: str) -> str:
    """Replace aliases in a text form ``name:key=value,...``."""
    name, colon, rest = text.partition(":")
    own = own_name(kind, name)
    parts = [part.partition("=") for part in rest.split(",")]
    return own + colon + ",".join(key + sign + own_value(kind, own, key.strip(), value) for key, sign, value in parts)


def _load(kind: Kind) -> None:
    _import_once(_BUILTIN_MODULES[kind])
    if "plugins" not in _loaded:
        _loaded.add("plugins")
        for entry in _plugins():
            entry.load()


@functools.cache
def _plugins() -> EntryPoints:
    return entry_points(group="poisonsieve.plugins")


def _import_once(module: str) -> None:
    if module not in _loaded:
        importlib.import_module(module)
        _loaded.add(module)
