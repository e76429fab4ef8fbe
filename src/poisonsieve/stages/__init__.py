"""Stages: work that is done once and leaves a folder. `keep` runs and keeps them, `train` does the work."""
