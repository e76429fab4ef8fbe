"""The guard room: guard and victim together, and what is done with them to texts in numbers."""

from poisonsieve.guard.guarded import GuardedClassifier, Verdict

__all__ = ["GuardedClassifier", "Verdict"]
