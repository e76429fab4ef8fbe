"""Whether the device computes what the processor computes, and whether guards move from one to the other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from gpu.parts import KitError
from gpu.place import Place
from gpu.probe import gpu

#: Of the largest score: what another order of sums may change.
TOLERANCE = 1e-3


def check(place: Place) -> None:
    """Compare scores and features of every model that is here, then carry guards over both ways.

    Raises:
        KitError: something differs by more than `TOLERANCE` of its largest value; what was found is on record.
    """
    from poisonsieve.environment import device_type

    device = device_type()
    place.record("card", device=device, gpu=gpu() if device == "cuda" else None)
    rows = place.rows().shuffle(seed=0)
    count = 24 if place.tiny else 64  # the processor reads them with every model, and in float64 too
    texts = list(rows[:count]["text"])
    held = [_compare(place, name, texts, rows.features["label"].names, device) for name in place.models()]
    with TemporaryDirectory(prefix="poisonsieve-") as scratch:
        held += _guards_move(place, rows, texts, device, Path(scratch))
    if not all(held):
        raise KitError(f"{device} and cpu differ by more than {TOLERANCE:g} of the largest value; see the records")


def _compare(place: Place, name: str, texts: list[str], names: list[str], device: str) -> bool:
    from poisonsieve import load_classifier

    classifier = load_classifier(place.model(name), label_names=names, head="any", seed=0)
    here = classifier.score(texts).values
    deep = classifier.double().features(texts).values
    classifier.float().to("cpu")
    return all(
        [
            _same(place, f"scores of {name}", device, here, classifier.score(texts).values),
            _same(place, f"features of {name} in float64", device, deep, classifier.double().features(texts).values),
        ]
    )


def _guards_move(place: Place, rows: Any, texts: list[str], device: str, scratch: Path) -> list[bool]:
    """Fit on the one, open on the other, for a guard that trains and one that only looks."""
    from poisonsieve import Guard, load_classifier, registry
    from poisonsieve.models import save_classifier
    from poisonsieve.tuning import finetune, tune_spec

    few = rows.select(range(min(len(rows), 150 if place.tiny else 400)))
    start = scratch / "start"
    start.mkdir()
    classifier = load_classifier(
        place.model(place.models()[0]), label_names=rows.features["label"].names, head="any", seed=0
    )
    finetune(
        classifier, few, tune_spec("full", hidden_size=classifier.base.config.hidden_size, epochs=1, max_length=64)
    )
    save_classifier(classifier, start)
    held: list[bool] = []
    for name in ("psim", "dan"):
        for there, back in ((device, "cpu"), ("cpu", device)):
            folder = scratch / f"{name}-{there}-{back}-{len(held)}"
            with _on(there):
                guard = Guard(registry.get("defense", name)(start, max_length=64), frr=0.1).fit(few)
                guard.save_pretrained(folder)
                saved = guard.score(texts).scores
            with _on(back):
                opened = Guard.from_pretrained(folder).score(texts).scores
            held.append(_same(place, f"{name} fitted on {there}, opened on {back}", device, saved, opened))
    return held


@contextmanager
def _on(device: str) -> Iterator[None]:
    """Models that are opened inside the block are put there."""
    before = os.environ.get("POISONSIEVE_DEVICE")
    os.environ["POISONSIEVE_DEVICE"] = device
    try:
        yield
    finally:
        if before is None:
            del os.environ["POISONSIEVE_DEVICE"]
        else:
            os.environ["POISONSIEVE_DEVICE"] = before


def _same(place: Place, what: str, device: str, found: np.ndarray, expected: np.ndarray) -> bool:
    """Put on record how far two arrays are apart, as a share of the largest value."""
    largest = float(np.abs(expected).max())
    share = float(np.abs(found - expected).max()) / largest
    holds = bool(share <= TOLERANCE)  # NaN does not hold
    place.record("check", what=what, device=device, largest=largest, share=share, holds=holds)
    return holds
