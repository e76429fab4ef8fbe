"""Loading models: finding weights, checking that they are safe to open, and one classifier class for all of them."""

from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.models.sources import resolve

__all__ = ["load_classifier", "resolve", "save_classifier"]
