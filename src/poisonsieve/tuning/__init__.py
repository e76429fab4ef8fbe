"""The five tunings, and the one training loop that attacker, victim and PSIM share."""

from poisonsieve.tuning.methods import attach, supported_tunings
from poisonsieve.tuning.presets import tune_spec
from poisonsieve.tuning.training import TuneResult, finetune

__all__ = ["TuneResult", "attach", "finetune", "supported_tunings", "tune_spec"]
