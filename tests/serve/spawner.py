"""A process that has imported the libraries and forks a `poisonsieve` command for each line it reads.

Importing them takes seconds, and a test that kills the service again and again would spend its time on that. Lines are
JSON: ``{"run": [arguments], "log": file}`` gives the new process's id, ``{"wait": id}`` its exit code.
"""

import json
import os
import signal
import sys


def main() -> None:
    import peft
    import torch
    import transformers

    import poisonsieve.serve.app
    from poisonsieve.cli.main import run

    assert peft and transformers and poisonsieve.serve.app
    torch.set_num_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(log, 1)
                os.dup2(log, 2)
                signal.set_wakeup_fd(-1)
                sys.argv = ["poisonsieve", *order["run"]]
                run()
                os._exit(0)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
