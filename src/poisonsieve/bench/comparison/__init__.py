"""Attacks x defences on one data set: what is run, how one cell is measured, and the table that comes out."""
