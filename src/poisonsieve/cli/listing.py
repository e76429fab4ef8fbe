"""`poisonsieve list`: list the names that the commands accept."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING

from poisonsieve.cli import command, options, printing

if TYPE_CHECKING:
    from poisonsieve.registry import Kind


def list_(seed: options.Seed = 0, json: options.Json = False) -> None:
    """List attacks, defences, tunings, data sets and models. Hub ids, files and folders can be given too.

    Example: poisonsieve list --json
    """
    del seed
    with command.running():
        from poisonsieve import registry
        from poisonsieve.data import dataset_names
        from poisonsieve.defenses.specs import DEFENSE_KINDS, names_of
        from poisonsieve.models.packaged import packaged_names

        plugins = {f"{kind}s": _described(kind, registry.names(kind)) for kind in ("attack", "poisoning")}
        plugins |= {f"{kind}s": _described("defense", names_of(kind)) for kind in DEFENSE_KINDS}
        plugins |= {"tunings": _described("tuning", registry.names("tuning"))}
        kinds: dict[str, Kind] = {"attacks": "attack", "poisonings": "poisoning", "tunings": "tuning"}
        kinds |= {f"{kind}s": "defense" for kind in DEFENSE_KINDS}
        aliases = {heading: _aliases(kinds[heading], entries) for heading, entries in plugins.items()}
        packaged = {"datasets": dataset_names(), "models": packaged_names()}
        if json:
            names = {heading: list(entries) for heading, entries in plugins.items()}
            every = {"defenses": registry.names("defense")}
            printing.print_result({**names, **every, **packaged, "descriptions": plugins, "aliases": aliases})
            return
        for heading, entries in plugins.items():
            if entries:
                printing.print_facts(heading, _with_aliases(entries, aliases[heading]))
        printing.print_facts("packaged", {heading: ", ".join(entries) for heading, entries in packaged.items()})


def _aliases(kind: Kind, names: Iterable[str]) -> dict[str, str]:
    """Return the name that each alias stands for."""
    from poisonsieve import registry

    return {alias: name for name in names for alias in registry.aliases_of(kind, name)}


def _with_aliases(entries: dict[str, str], aliases: dict[str, str]) -> dict[str, str]:
    """Return the entries with the aliases after each name."""
    others = {name: [alias for alias, own in aliases.items() if own == name] for name in entries}
    return {f"{name} ({', '.join(others[name])})" if others[name] else name: text for name, text in entries.items()}


def _described(kind: Kind, names: list[str]) -> dict[str, str]:
    """Return the first line of each plug-in's docstring; empty if it has none."""
    from poisonsieve import registry

    texts = {name: inspect.getdoc(registry.get(kind, name)) or "" for name in names}
    return {name: text.partition("\n")[0] for name, text in texts.items()}
