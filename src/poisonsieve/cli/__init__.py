"""The command line: one thin module for each command, heavy imports inside the functions."""
