"""Defences. Importing this package registers them."""

from poisonsieve.defenses.base import Detector
from poisonsieve.defenses.psim import PSIM

__all__ = ["PSIM", "Detector"]
