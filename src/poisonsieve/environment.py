"""Versions and machine, for the record beside a result."""

from __future__ import annotations

import contextlib
import importlib.metadata
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
    }


def _processor() -> str:
    """The processor's name; Linux says it in a file only."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
