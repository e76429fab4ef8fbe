"""What results come to: a grid's finished cells, held against the goal. Reads results files; runs nothing."""
