"""What the card can do at most: matrix rates by precision, memory bandwidth, and what starting a kernel costs."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from gpu.place import Place

_PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
_REPEATS = 9


def roofline(place: Place) -> None:
    """Measure and put on record; a rate is the median of `_REPEATS` products of random square matrices."""
    from poisonsieve.environment import device_type

    device = torch.device(device_type())
    size = 192 if place.tiny else 8192 if device.type == "cuda" else 2048
    for precision in _PRECISIONS:
        if precision == "tf32" and device.type != "cuda":
            continue  # of the card's matrix units alone
        seconds = _product(size, precision, device)
        place.record(
            "roofline",
            what="matrix",
            precision=precision,
            size=size,
            teraflops=2 * size**3 / seconds / 1e12,
            **_card(device),
        )
    count = (2**22 if place.tiny else 2**30) // 4
    source, target = torch.randn(count, device=device), torch.empty(count, device=device)
    seconds = timed(lambda: target.copy_(source), device)
    place.record("roofline", what="memory", gigabytes_a_second=8 * count / seconds / 1e9, **_card(device))
    few = torch.zeros(64, device=device)
    seconds = timed(lambda: [few.add_(1) for _ in range(1000)], device) / 1000
    place.record("roofline", what="kernel", microseconds=1e6 * seconds, **_card(device))


def _product(size: int, precision: str, device: torch.device) -> float:
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        return timed(lambda: left @ right, device)
    finally:
        torch.set_float32_matmul_precision(before)


def timed(work: Callable[[], object], device: torch.device, repeats: int = _REPEATS) -> float:
    """Median seconds of `work`, after two warm-ups; a card is waited for."""
    seconds = []
    for _ in range(repeats + 2):
        wait_for(device)
        started = time.perf_counter()
        work()
        wait_for(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


def wait_for(device: torch.device) -> None:
    """Until the card has done what it was given; a processor has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _card(device: torch.device) -> dict[str, Any]:
    return {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu"}
