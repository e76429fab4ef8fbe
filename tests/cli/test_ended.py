"""A command that is told to end, by Ctrl-C or by a signal, leaves nothing half done behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytest_plugins = ["commands"]

HOW = {
    signal.SIGINT: (130, "interrupted"),
    signal.SIGTERM: (143, "ended by SIGTERM"),
    signal.SIGHUP: (129, "ended by SIGHUP"),
}


def as_from_a_terminal():
    """In the command's process: signals as a terminal hands them on. In the background of a script they are ignored."""
    for number in HOW:
        signal.signal(number, signal.SIG_DFL)


def started(folder, *command, preexec_fn=as_from_a_terminal):
    """The command, once what it writes is there under its hidden name."""
    running = subprocess.Popen(
        [sys.executable, "-m", "poisonsieve.cli", *map(str, command)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec_fn,
    )
    running.stdin.write("a good film\n" * 3000)
    running.stdin.flush()
    until = time.monotonic() + 120
    while not list(folder.glob(".v*")) and time.monotonic() < until and running.poll() is None:
        time.sleep(0.05)
    assert running.poll() is None, running.stderr.read()
    return running


def said_by(running):
    said = running.stderr.read()
    running.stdin.close()
    running.stderr.close()
    return running.wait(60), said


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        *((kind, number) for kind in ("jsonl", "parquet") for number in HOW),
        *((kind, signal.SIGINT) for kind in ("csv", "sarif")),
    ],
)
def test_a_command_that_is_ended_leaves_no_half_file(kind, number, guard_folder, tmp_path):
    running = started(tmp_path, "screen", guard_folder, "-", "--quiet", "--out", tmp_path / f"v.{kind}")
    running.send_signal(number)
    code, line = HOW[number]
    assert said_by(running) == (code, f"{line}\n")
    assert list(tmp_path.iterdir()) == []


def test_two_signals_at_once_are_one(guard_folder, tmp_path):
    running = started(tmp_path, "screen", guard_folder, "-", "--quiet", "--out", tmp_path / "v.jsonl")
    running.send_signal(signal.SIGTERM)
    running.send_signal(signal.SIGHUP)
    code, said = said_by(running)
    assert (code, said.count("\n")) in {(143, 1), (129, 1)}
    assert list(tmp_path.iterdir()) == []


def test_what_is_to_outlive_its_terminal_does(guard_folder, tmp_path):
    def ignoring():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does

    running = started(
        tmp_path, "screen", guard_folder, "-", "--quiet", "--out", tmp_path / "v.jsonl", preexec_fn=ignoring
    )
    running.send_signal(signal.SIGHUP)
    code, said = said_by_end_of_input(running)
    assert code == 0, said
    assert len((tmp_path / "v.jsonl").read_text().splitlines()) == 3000


def said_by_end_of_input(running):
    running.stdin.close()
    said = running.stderr.read()
    running.stderr.close()
    return running.wait(60), said


def test_handlers_are_put_back_and_a_thread_has_none():
    import threading

    import typer

    from poisonsieve.cli import command

    before = [signal.getsignal(number) for number in HOW]
    with command.running():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in HOW] == before
    with pytest.raises(typer.Exit) as ended, command.running():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert ended.value.exit_code == 143
    assert [signal.getsignal(number) for number in HOW] == before
    done = []

    def work():
        with command.running():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_a_child_that_was_forked_is_ended_as_ever():
    from poisonsieve.cli import command

    with command.running():
        child = os.fork()
        if not child:
            time.sleep(30)
            os._exit(0)
        time.sleep(0.2)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
