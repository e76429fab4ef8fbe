"""Weight poisoning: how theta_p is trained on triggered rows, plainly, to outlast tuning, or to evade a guard."""

from poisonsieve.attacks.weights import camouflage, embedding, full, layerwise, low_confidence, ripple
from poisonsieve.attacks.weights.base import Poisoning, make_poisoning

__all__ = ["Poisoning", "camouflage", "embedding", "full", "layerwise", "low_confidence", "make_poisoning", "ripple"]
