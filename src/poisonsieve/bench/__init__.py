"""Experiments: a grid runs every stage once and keeps it; tables and figures are made from its stored scores."""
