"""Causal language models, which score how likely a text is."""

from poisonsieve.models.lm.causal import CausalLM, load_causal_lm

__all__ = ["CausalLM", "load_causal_lm"]
