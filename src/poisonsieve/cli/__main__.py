"""`python -m poisonsieve.cli`: the command without its script, for where only the interpreter is at hand."""

from poisonsieve.cli.main import run

run()
