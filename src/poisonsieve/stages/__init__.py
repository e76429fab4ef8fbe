"""Stages: work that is done once and leaves a folder. How one is kept (`keep`), and the work itself (`train`)."""
