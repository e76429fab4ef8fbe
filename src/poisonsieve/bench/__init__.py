"""Experiments and what is made of their stored scores: sweeps, figures and reports."""
