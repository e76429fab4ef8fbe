"""What a machine has, as JSON on stdout: run it on the target, and give what it prints to `pack --assume`.

    python3 probe.py > target.json

Needs nothing but Python, and changes nothing.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from typing import Any


def probe() -> dict[str, Any]:
    """Python, platform, the card and every installed package with its version."""
    return {
        "python": list(sys.version_info[:3]),
        "implementation": sys.implementation.name,
        "system": platform.system(),
        "machine": platform.machine(),
        "glibc": [int(part) for part in platform.libc_ver()[1].split(".")[:2]] if platform.libc_ver()[1] else None,
        "cores": os.cpu_count(),
        "packages": packages(),
        "gpu": gpu(),
    }


def packages() -> dict[str, str]:
    """Version of each installed package, by its name in lower case with hyphens; the first one found counts."""
    found: dict[str, str] = {}
    for each in importlib.metadata.distributions():
        name = each.metadata["Name"]
        if name:
            found.setdefault(name.lower().replace("_", "-").replace(".", "-"), each.version)
    return dict(sorted(found.items()))


def gpu() -> dict[str, Any] | None:
    """The first card as torch sees it; None without torch, or without a card."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    facts = torch.cuda.get_device_properties(0)
    return {
        "name": facts.name,
        "memory_gib": round(facts.total_memory / 2**30, 1),
        "capability": [facts.major, facts.minor],
        "cuda": torch.version.cuda,
        "bf16": torch.cuda.is_bf16_supported(),
    }


if __name__ == "__main__":
    print(json.dumps(probe(), indent=1))
