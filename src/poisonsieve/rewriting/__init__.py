"""Engines that rewrite a text: a parser with rules, files of rewrites, sequence-to-sequence models."""
