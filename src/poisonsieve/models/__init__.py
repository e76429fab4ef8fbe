"""Weights: where they come from, whether they are safe to open, and one classifier object over all of them."""

from poisonsieve.models.load import load_classifier, resolve

__all__ = ["load_classifier", "resolve"]
