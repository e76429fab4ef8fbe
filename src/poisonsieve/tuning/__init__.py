"""The five tunings, and the training loop that attacker, victim and PSIM share."""

from poisonsieve.tuning.methods import attach, supported_tunings
from poisonsieve.tuning.objective import Batch, Objective
from poisonsieve.tuning.presets import tune_spec
from poisonsieve.tuning.record import Tuning, tuning
from poisonsieve.tuning.training import TuneResult, finetune

__all__ = [
    "Batch",
    "Objective",
    "TuneResult",
    "Tuning",
    "attach",
    "finetune",
    "supported_tunings",
    "tune_spec",
    "tuning",
]
