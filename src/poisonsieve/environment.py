"""Versions and machine, for the record beside a result; and the processes that train one model together."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from pathlib import Path


def versions(*packages: str) -> dict[str, str]:
    """Installed versions by name; of poisonsieve and what it computes with when none is named."""
    names = packages or ("poisonsieve", "torch", "transformers", "peft")
    return {name: importlib.metadata.version(name) for name in names}


def environment() -> dict[str, str]:
    """Versions and machine, for the record."""
    import torch

    return {
        **versions(),
        **versions("datasets", "numpy"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
        **({"processes": str(processes())} if processes() > 1 else {}),
    }


def processes() -> int:
    """How many processes train together: as many as a launcher started, else one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this is the process that keeps the results; the others only do their share of the training."""
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_all() -> None:
    """Go on when every process of the launch has come here; at once where there is one alone."""
    if processes() == 1:
        return
    import torch

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    torch.distributed.barrier()


def _processor() -> str:
    """The processor's name; Linux says it in a file only."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
