"""Compare a grid's finished cells with the goal. Reads results files; runs nothing."""
