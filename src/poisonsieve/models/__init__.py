"""Weights: where they come from, whether they are safe to open, and one classifier object over all of them."""

from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.models.sources import resolve

__all__ = ["load_classifier", "resolve", "save_classifier"]
