"""`poisonsieve list`: what can be named on the command line."""

from __future__ import annotations

from poisonsieve.cli import common


def list_(seed: common.Seed = 0, json: common.Json = False) -> None:
    """List attacks, defences, tunings, data sets and models. Hub ids, files and folders work beside those listed.

    Example: poisonsieve list --json
    """
    del seed
    with common.running():
        from poisonsieve import registry
        from poisonsieve.data import dataset_names
        from poisonsieve.models.packaged import packaged_names

        found = {
            "attacks": registry.names("attack"),
            "defenses": registry.names("defense"),
            "tunings": registry.names("tuning"),
            "datasets": dataset_names(),
            "models": packaged_names(),
        }
        if json:
            common.print_result(found)
            return
        common.print_facts("poisonsieve knows", {kind: ", ".join(names) for kind, names in found.items()})
