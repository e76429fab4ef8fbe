"""Versions and machine, recorded with each result, and the processes that train one model together."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path

from poisonsieve.errors import ConfigError, UnsupportedError

DEVICE_VARIABLE = "POISONSIEVE_DEVICE"


def versions(*packages: str) -> dict[str, str]:
    """Return installed versions by name; by default of poisonsieve and its main libraries."""
    names = packages or ("poisonsieve", "torch", "transformers", "peft")
    return {name: importlib.metadata.version(name) for name in names}


def environment() -> dict[str, str]:
    """Describe versions and machine, for the record."""
    import torch

    return {
        **versions(),
        **versions("datasets", "numpy"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
        **({"gpu": torch.cuda.get_device_name()} if device_type() == "cuda" else {}),
        **({"processes": str(processes())} if processes() > 1 else {}),
    }


def device_type() -> str:
    """Return the device for models, ``cpu`` or ``cuda``: ``$POISONSIEVE_DEVICE``, else a GPU if torch sees one.

    Raises:
        ConfigError: the variable has another value, or asks for a GPU that torch does not see.
    """
    import torch

    wanted = os.environ.get(DEVICE_VARIABLE, "").strip().lower() or "auto"
    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"{DEVICE_VARIABLE}={wanted} is not a device; set it to auto, cpu or cuda")
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError(
            f"{DEVICE_VARIABLE}=cuda, and torch {torch.__version__} sees no GPU; install a build for CUDA, or set "
            "it to cpu"
        )
    return "cpu"


def require(extra: str, *libraries: str) -> None:
    """Refuse to go on without libraries that an extra of this package brings.

    Raises:
        UnsupportedError: one of them is not installed; names all, and the extra.
    """
    if any(importlib.util.find_spec(library) is None for library in libraries):
        raise UnsupportedError(f'this needs {" and ".join(libraries)}; pip install "poisonsieve[{extra}]"')


def processes() -> int:
    """Return the number of processes that a launcher started to train together, else 1."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Tell whether this is the process that saves the results; the others only share the training."""
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_all() -> None:
    """Wait until every process of the launch has arrived here; return at once if there is only one."""
    if processes() == 1:
        return
    import torch

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device_type() == "cuda" else "gloo")
    torch.distributed.barrier()


def _processor() -> str:
    """Return the processor's name, which Linux states only in a file."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
