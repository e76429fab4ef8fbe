"""Defences. Importing this package registers them."""

from poisonsieve.defenses.back_translation import ApertiumBackTranslation, BackTranslation, FileBackTranslation
from poisonsieve.defenses.base import Detector
from poisonsieve.defenses.fine_mixing import FineMixing
from poisonsieve.defenses.psim import PSIM
from poisonsieve.defenses.repair import WeightRepair
from poisonsieve.defenses.rewriter import Rewriter
from poisonsieve.defenses.scpd import FileSCPD, Seq2SeqSCPD

__all__ = [
    "PSIM",
    "ApertiumBackTranslation",
    "BackTranslation",
    "Detector",
    "FileBackTranslation",
    "FileSCPD",
    "FineMixing",
    "Rewriter",
    "Seq2SeqSCPD",
    "WeightRepair",
]
