"""Defences. Importing this package registers them."""

from poisonsieve.defenses.base import Detector
from poisonsieve.defenses.fine_mixing import FineMixing
from poisonsieve.defenses.psim import PSIM
from poisonsieve.defenses.repair import WeightRepair
from poisonsieve.defenses.rewriter import Rewriter

__all__ = ["PSIM", "Detector", "FineMixing", "Rewriter", "WeightRepair"]
