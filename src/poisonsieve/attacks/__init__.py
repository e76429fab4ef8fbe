"""Triggers and weight poisoning. Importing this package registers the attacks."""

from poisonsieve.attacks import badnet, insent, multi
from poisonsieve.attacks.base import Trigger, make_trigger
from poisonsieve.attacks.poisoning import PoisonReport, TriggeredRows, poison_rows, trigger_rows

__all__ = [
    "PoisonReport",
    "Trigger",
    "TriggeredRows",
    "badnet",
    "insent",
    "make_trigger",
    "multi",
    "poison_rows",
    "trigger_rows",
]
