import os
import re

import pytest

from poisonsieve.waiting import waiting
from pseudo_terminal import drawn_in_terminal

WAITED = """
import time
from poisonsieve.progress import progress_bar
from poisonsieve.waiting import aside, waiting
with waiting('loading'):
    time.sleep(2)
    with aside():
        print('a remark', flush=True)
    time.sleep(2)
    with progress_bar('reading', 'text', total=3) as moved:
        time.sleep(0.6)
        moved.update(3)
"""


def test_a_line_says_that_work_goes_on_until_there_is_a_bar():
    drawn = drawn_in_terminal(WAITED, 24, 80)
    assert drawn.startswith("\rloading [0 s]")
    before, _, after = drawn.partition("a remark\r\n")
    assert re.search(r"\rloading \[[1-9] s\]\r +\r$", before)  # wiped, so that the remark has a line of its own
    loading, _, bar = after.partition("\rreading:")
    assert "loading [" in loading
    assert "loading" not in bar


def test_the_line_is_gone_at_the_end_even_after_an_error():
    code = """
from poisonsieve.waiting import waiting
try:
    with waiting('loading'):
        1 / 0
except ZeroDivisionError:
    pass
"""
    assert re.search(r"loading \[\d+ s\]\r +\r$", drawn_in_terminal(code, 24, 80))


def test_nothing_is_drawn_where_nobody_looks(capsys):
    with waiting("loading"):
        pass
    assert capsys.readouterr().err == ""


COMMAND = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "transformers", "datasets", "numpy", "uvicorn"):
            os.write(2, b"<heavy>")
sys.meta_path.insert(0, Finder())
sys.argv = ["poisonsieve", *{arguments}]
from poisonsieve.cli.main import run
try:
    run()
except SystemExit:
    pass
"""
SCREEN = ["screen", "none", os.devnull]
POISON = ["poison", "--model", "none", "--data", "none", "--out", "none/out"]
SERVE = ["serve", "none", "--port", "0"]


@pytest.mark.parametrize("arguments", [SCREEN, POISON, SERVE])
def test_a_command_shows_that_it_works_before_it_imports_what_takes_long(arguments):
    if arguments is SERVE:
        pytest.importorskip("uvicorn")
    drawn = drawn_in_terminal(COMMAND.format(arguments=arguments), 24, 80)
    shown_before, _, _ = drawn.partition("<heavy>")
    assert "<heavy>" in drawn
    assert re.fullmatch(r"(\rloading \[\d+ s\])+", shown_before)
    assert drawn.splitlines()[-1].lstrip("\r ").startswith("error: ")


@pytest.mark.parametrize("arguments", [[*SCREEN, "--quiet"], [*POISON, "--quiet"]])
def test_a_quiet_command_shows_nothing_while_it_loads(arguments):
    assert "loading" not in drawn_in_terminal(COMMAND.format(arguments=arguments), 24, 80)
