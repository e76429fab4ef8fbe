"""Defences. Importing this package registers them."""

from poisonsieve.defenses.back_translation import ApertiumBackTranslation, BackTranslation, FileBackTranslation
from poisonsieve.defenses.cascade import Cascade
from poisonsieve.defenses.combined import Combined
from poisonsieve.defenses.dan import DAN
from poisonsieve.defenses.detector import Detector, Scored
from poisonsieve.defenses.feature_shift import FeatureShift
from poisonsieve.defenses.fine_mixing import FineMixing
from poisonsieve.defenses.mahalanobis import Mahalanobis
from poisonsieve.defenses.msp import MSP
from poisonsieve.defenses.network import ModelDetector
from poisonsieve.defenses.one_pass import OnePassDetector
from poisonsieve.defenses.one_pass_rarity import OnePassRarity
from poisonsieve.defenses.onion import ONION
from poisonsieve.defenses.psim import PSIM
from poisonsieve.defenses.psim_rarity import PSIMRarity
from poisonsieve.defenses.rap import RAP
from poisonsieve.defenses.repair import WeightRepair
from poisonsieve.defenses.rewriter import Rewriter
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.defenses.scpd import FileSCPD, Seq2SeqSCPD
from poisonsieve.defenses.scpd_rules import RuleSCPD
from poisonsieve.defenses.states import StatesDetector
from poisonsieve.defenses.strip import STRIP

__all__ = [
    "DAN",
    "MSP",
    "ONION",
    "PSIM",
    "RAP",
    "STRIP",
    "ApertiumBackTranslation",
    "BackTranslation",
    "Cascade",
    "CleanRows",
    "Combined",
    "Detector",
    "FeatureShift",
    "FileBackTranslation",
    "FileSCPD",
    "FineMixing",
    "Mahalanobis",
    "ModelDetector",
    "OnePassDetector",
    "OnePassRarity",
    "PSIMRarity",
    "Rewriter",
    "RuleSCPD",
    "Scored",
    "Seq2SeqSCPD",
    "StatesDetector",
    "WeightRepair",
]
