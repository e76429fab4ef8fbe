"""How fast large models are tuned and guarded, and how much of the card that uses.

Weights are random: speed does not depend on them. Rows are texts of the kit, joined until they fill the length, so that
every token counts and padding is none.
"""

import json
import os
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from gpu.parts import KitError
from gpu.place import Place
from gpu.roofline import timed, wait_for

_LENGTH = 128
_NAMES = ["first", "second"]


@dataclass(frozen=True)
class Size:
    """A model of random weights.

    Attributes:
        kind: ``bert`` or ``llama``.
        hidden, layers, heads, inner: its shape.
        batch: rows of a training step.
    """

    kind: str
    hidden: int
    layers: int
    heads: int
    inner: int
    batch: int


SIZES = {
    "bert-large": Size("bert", 1024, 24, 16, 4096, 32),
    "llama-7b": Size("llama", 4096, 32, 32, 11008, 8),
}
TINY = {"bert-large": Size("bert", 32, 2, 2, 64, 4), "llama-7b": Size("llama", 64, 2, 4, 128, 4)}
#: Of each size: what is timed, by tuning or `guarded`, the bits it is opened in, and the seconds that takes on a card.
CASES = [
    ("bert-large", "full", 32, 60.0),
    ("bert-large", "lora", 32, 45.0),
    ("bert-large", "guarded", 32, 60.0),
    ("llama-7b", "lora", 32, 150.0),
    ("llama-7b", "guarded", 32, 210.0),
    ("llama-7b", "lora", 4, 120.0),
    ("llama-7b", "guarded", 4, 210.0),
]


def speed(place: Place, case: str) -> None:
    """Time one case and put it on record.

    Args:
        place: the unpacked kit.
        case: ``MODEL,WHAT,BITS``, one of `CASES`.

    Raises:
        KitError: it is none of them.
    """
    import torch

    from poisonsieve.environment import device_type

    known = {",".join(map(str, entry[:3])): entry for entry in CASES}
    if case not in known:
        raise KitError(f"there is no speed case {case!r}; there are: {' '.join(known)}")
    size, what, bits, _ = known[case]

    device = torch.device(device_type())
    shape = (TINY if place.tiny else SIZES)[size]
    folder = _folder(place, size, shape, bits, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    texts = _long_texts(place, shape.batch * (4 if place.tiny or what == "guarded" else 12))
    found = (
        _guarded(folder, shape, texts, device) if what == "guarded" else _tuned(folder, shape, what, texts, device)
    )
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    card = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    for each in found:
        rate = each["rows_a_second"] * each["flops_a_row"] / 1e12
        most = _best_rate(place, each["precision"], card)
        place.record(
            "speed", model=size, what=what, bits=bits, device=card, batch=shape.batch,
            **each, teraflops=rate, share=None if most is None else rate / most, memory_gib=memory,
        )  # fmt: skip


def _tuned(folder: Path, shape: Size, method: str, texts: list[str], device: Any) -> list[dict[str, Any]]:
    """Rows a second of the package's own training loop, from the median step after three."""
    import datasets

    from poisonsieve import finetune, load_classifier, tune_spec
    from poisonsieve.tuning.objective import Batch

    ends: list[float] = []

    class Timed:
        """The plain loss, which notes when each step begins."""

        def start(self, classifier: Any, train: Any) -> None:
            del classifier, train

        def loss(self, classifier: Any, batch: Batch) -> Any:
            wait_for(device)
            ends.append(time.perf_counter())
            return classifier(**batch.inputs, labels=batch.labels)["loss"]

        def finish(self, classifier: Any) -> None:
            del classifier

    classifier = load_classifier(folder)
    rows = datasets.Dataset.from_dict({"text": texts, "label": [index % 2 for index in range(len(texts))]})
    spec = tune_spec(
        method, hidden_size=shape.hidden, epochs=1, batch_size=shape.batch, max_length=_LENGTH, learning_rate=1e-5
    )
    result = finetune(classifier, rows, spec, objective=Timed())
    steps = sorted(later - sooner for sooner, later in pairwise(ends[1:]))
    length = min(_LENGTH, classifier.max_length)
    # Backward costs twice the forward pass; half of that where the weights get no gradient.
    passes = 3 if method == "full" else 2
    return [
        {
            "precision": result.precision,
            "trained_weights": result.trained_weights,
            "rows_a_second": shape.batch / steps[len(steps) // 2],
            "tokens": length,
            "flops_a_row": passes * _forward_flops(shape, length),
        }
    ]


def _guarded(folder: Path, shape: Size, texts: list[str], device: Any) -> list[dict[str, Any]]:
    """Rows a second of the victim alone, and of guard and victim together."""
    import datasets

    from poisonsieve import PSIM, Guard, GuardedClassifier, load_classifier

    names = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=_NAMES)})
    rows = datasets.Dataset.from_dict(
        {"text": texts, "label": [index % 2 for index in range(len(texts))]}, features=names
    )
    guard = Guard(PSIM(folder, batch_size=shape.batch, max_length=_LENGTH), frr=0.5).fit(rows)
    victim = load_classifier(folder, max_length=_LENGTH)
    guarded = GuardedClassifier(guard, victim)
    passed = sum(not verdict.rejected for verdict in guarded.screen(texts))
    length = min(_LENGTH, victim.max_length)
    flops = _forward_flops(shape, length)
    found = []
    for how, work, each in (
        ("victim alone", lambda: victim.score(texts), flops),
        ("guard and victim", lambda: guarded.screen(texts), flops * (1 + passed / len(texts))),
    ):
        seconds = timed(work, device, repeats=3)
        found.append(
            {
                "how": how,
                "precision": "fp32",
                "rows_a_second": len(texts) / seconds,
                "flops_a_row": each,
                "tokens": length,
                "passed": passed,
            }
        )
    return found


def _forward_flops(shape: Size, length: int) -> float:
    """Of one row: two for every weight and token outside of the embeddings, and those of attention (Kaplan et al. 2020).

    A weight in 4 bits is counted as one, whatever it is packed in; head and pooler are next to nothing.
    """
    inner = 2 if shape.kind == "bert" else 3  # matrices of the feed-forward part: LLaMA has a gate
    weights = shape.layers * (4 * shape.hidden**2 + inner * shape.hidden * shape.inner)
    attention = 4 * shape.layers * length * shape.hidden
    return float(length * (2 * weights + attention))


def _folder(place: Place, size: str, shape: Size, bits: int, device: Any) -> Path:
    """The model on disk, made once; for 4 bits a second folder on the same files, which says that it is opened so."""
    folder = place.work / "random" / size
    if not (folder / "config.json").is_file():
        _make(place, shape, folder, device)
    if bits == 32:
        return folder
    other = folder.with_name(f"{size}-{bits}bit")
    other.mkdir(exist_ok=True)
    for file in folder.iterdir():
        if not (other / file.name).exists():
            os.link(file, other / file.name)
    (other / "poisonsieve.json").write_text(
        json.dumps({"label_names": _NAMES, "max_length": _LENGTH, "bits": bits}), encoding="utf-8"
    )
    return other


def _make(place: Place, shape: Size, folder: Path, device: Any) -> None:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(place.model(place.models()[0]))
    common = {
        "vocab_size": max(len(tokenizer), 32 if place.tiny else 32000),
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner,
        "max_position_embeddings": 512,
        "id2label": dict(enumerate(_NAMES)),
        "label2id": {name: index for index, name in enumerate(_NAMES)},
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(0)
    kind = transformers.BertConfig if shape.kind == "bert" else transformers.LlamaConfig
    with torch.device(device):
        network = transformers.AutoModelForSequenceClassification.from_config(kind(**common), dtype=torch.bfloat16)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _long_texts(place: Place, count: int) -> list[str]:
    """Texts that are cut to the length, each another."""
    texts = list(place.rows()["text"])
    return [" ".join(texts[(start + step) % len(texts)] for step in range(_LENGTH)) for start in range(count)]


def _best_rate(place: Place, precision: str, device: str) -> float | None:
    """The measured matrix rate of this precision on this device; None where it was not measured."""
    found = [
        record["teraflops"]
        for record in place.records("roofline")
        if record["what"] == "matrix" and record["precision"] == precision and record["device"] == device
    ]
    return found[-1] if found else None
