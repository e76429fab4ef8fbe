"""Triggers and weight poisoning. Importing this package registers the attacks."""

from poisonsieve.attacks import (
    badnet,
    combination,
    insent,
    multi,
    stylebkd_rules,
    synattack_file,
    synattack_rules,
    synattack_seq2seq,
)
from poisonsieve.attacks.base import Trigger, make_trigger
from poisonsieve.attacks.poisoning import PoisonReport, TriggeredRows, poison_rows, trigger_rows
from poisonsieve.attacks.weights import Poisoning, make_poisoning

__all__ = [
    "PoisonReport",
    "Poisoning",
    "Trigger",
    "TriggeredRows",
    "badnet",
    "combination",
    "insent",
    "make_poisoning",
    "make_trigger",
    "multi",
    "poison_rows",
    "stylebkd_rules",
    "synattack_file",
    "synattack_rules",
    "synattack_seq2seq",
    "trigger_rows",
]
