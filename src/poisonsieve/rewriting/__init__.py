"""Engines that write a text anew: a parser with rules, files of rewrites, sequence-to-sequence models."""
