"""Running Python code on a terminal of a given size."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios


def drawn_in_terminal(code, rows, columns):
    """What Python code draws on a terminal that says it has that size."""
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    ends = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    with subprocess.Popen([sys.executable, "-c", code], **ends, env=variables, start_new_session=True) as child:
        os.close(terminal)
        drawn = b""
        while block := _read(ours):
            drawn += block
    os.close(ours)
    assert child.returncode == 0, drawn
    return drawn.decode()


def _read(end):
    try:
        return os.read(end, 65_536)
    except OSError:  # what Linux says at the end of a pseudo-terminal
        return b""
