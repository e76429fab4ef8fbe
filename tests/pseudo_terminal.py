"""Running Python code on a terminal of a given size."""

import fcntl
import os
import pty
import struct
import sys
import termios


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
