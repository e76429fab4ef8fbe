import fcntl
import os
import pty
import struct
import sys
import termios

import pytest

from poisonsieve.progress import progress_bar, shown


def drawn_in_terminal(code, rows, columns):
    """What Python code draws on a terminal that says it has that size."""
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        os.execve(sys.executable, [sys.executable, "-c", code], variables)
    drawn = b""
    while True:
        try:
            block = os.read(terminal, 65_536)
        except OSError:  # what Linux says at the end of a pseudo-terminal
            break
        if not block:
            break
        drawn += block
    assert os.waitpid(child, 0)[1] == 0, drawn
    return drawn.decode()


SHOWN = "from poisonsieve.progress import shown\nassert list(shown(range(3), 'reading', 'text')) == [0, 1, 2]"
MOVED = """
from poisonsieve.progress import progress_bar
with progress_bar('reading', 'text', total=3) as moved:
    moved.update(3)
"""


@pytest.mark.parametrize("code", [SHOWN, MOVED])
@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (24, 80), (24, 0), (0, 80)])
def test_bars_are_drawn_in_a_terminal_of_any_size(code, rows, columns):
    drawn = drawn_in_terminal(code, rows, columns)
    assert "reading: 100%" in drawn
    assert "3/3" in drawn


@pytest.mark.parametrize("rows", [24, 0])
def test_a_bar_is_no_wider_than_its_terminal(rows):
    lines = drawn_in_terminal(SHOWN, rows, 50).split("\r")
    assert max(map(len, lines)) <= 50


def test_nothing_is_drawn_without_a_label(capsys):
    assert list(shown([1, 2], None, "text")) == [1, 2]
    with progress_bar(None, "text", total=2) as moved:
        moved.update(2)
    assert capsys.readouterr().err == ""
