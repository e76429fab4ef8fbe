"""Opening a whole checkpoint and checking its head."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from poisonsieve.errors import CheckpointError
from poisonsieve.models.labels import head_label_names, is_generic, refuse_other_outputs, same_classes
from poisonsieve.models.opening import how_to_open, open_tokenizer, opening
from poisonsieve.models.provenance import Provenance
from poisonsieve.models.quantized import compute_plainly, opened_in_bits
from poisonsieve.models.safety import MODEL_CONFIG, weights_digest
from poisonsieve.parsing import read_json

Head = Literal["trained", "any"]
# For example encoder.layer.3., model.layers.3., transformer.h.3.
_LAYER = re.compile(r"\.(?:layers?|h|blocks?)\.(\d+)\.")


@dataclass(frozen=True)
class Opened:
    """The contents of a model folder, from which a classifier is made.

    Attributes:
        network: a transformers network, or a PeftModel around one.
        tokenizer: its tokenizer.
        label_names: names of its K classes.
        provenance: provenance of the weights as far as the folder tells.
    """

    network: Any
    tokenizer: Any
    label_names: list[str]
    provenance: Provenance


def load_whole(
    folder: Path,
    label_names: Sequence[str] | None,
    *,
    head: Head = "any",
    seed: int = 0,
    allow_pickle: bool = False,
    bits: int | None = None,
    dtype: str | None = None,
    named: str | None = None,
) -> Opened:
    """Open a whole checkpoint.

    Args:
        folder: a checked folder.
        label_names: the data's class names; None for the checkpoint's.
        head: ``trained`` requires a trained head for these classes; ``any`` keeps the checkpoint's head if its shape fits
            and otherwise makes a random one, drawn from `seed`.
        seed: seed of a new head.
        allow_pickle: whether the folder may contain pickled weights, which were scanned.
        bits: 4 opens it frozen in 4 bits.
        dtype: ``auto`` keeps the precision of the files; None means fp32.
        named: the user's name for the model, for messages about its head; None for the folder.

    Raises:
        CheckpointError: there is no such head, or weights of the architecture are missing or damaged.
    """
    named = str(folder) if named is None else named
    if head == "trained":
        refuse_other_outputs(read_json(folder / MODEL_CONFIG), named)
    names, fits = _agree_on_labels(folder, label_names)
    if not fits and head == "trained":
        raise CheckpointError(
            f"the head of {named} knows the classes {names}, the data has {list(label_names or [])}; "
            "rename the labels, or tune a victim on this data first and start from that"
        )
    wanted = names if fits else list(label_names or [])
    options = {**how_to_open(folder, allow_pickle), **opened_in_bits(bits), **({"dtype": dtype} if dtype else {})}
    network, missing, other_shapes = _open_network(folder, len(wanted), seed, options)
    if other_shapes and head == "trained":
        name, here, there = other_shapes[0]
        raise CheckpointError(
            f"the head of {named} has {here[0] if here else 1} outputs ({name}), and its config names {there[0]} classes "
            f"({', '.join(wanted[:5])}); correct id2label in {MODEL_CONFIG}"
        )
    if missing and head == "trained":
        raise CheckpointError(
            f"{named} has no trained classification head (missing: {', '.join(sorted(missing)[:3])}); tune a victim "
            "on clean data first (poisonsieve tune) and start from that: a backdoor would still be in it"
        )
    network.name_or_path = str(folder.absolute())  # PEFT saves this as the adapter's base
    if bits is not None:
        compute_plainly(network)
    provenance = Provenance(
        base_folder=folder, base_digest=weights_digest(folder), bits=bits, untrained=tuple(sorted(missing))
    )
    return Opened(network, open_tokenizer(folder), wanted, provenance)


def _agree_on_labels(folder: Path, label_names: Sequence[str] | None) -> tuple[list[str], bool]:
    """Return the checkpoint's class names, and whether they match the data's, including their order."""
    saved = head_label_names(folder) or []
    if label_names is None:
        return saved, True
    data = list(label_names)
    if not same_classes(saved, data):
        return saved, False
    return (data if is_generic(saved) else saved), True


def _open_network(
    folder: Path, classes: int, seed: int, options: dict[str, Any]
) -> tuple[Any, set[str], list[tuple[str, tuple[int, ...], tuple[int, ...]]]]:
    """Open the network; return it with the names of missing weights and a list of mismatched ones.

    Mismatched weights also count as missing. Each is a name, the checkpoint's shape and the network's shape.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    with opening(folder, "a classifier"), torch.random.fork_rng(devices=[]):
        config = AutoConfig.from_pretrained(folder, num_labels=classes, trust_remote_code=False)
        config.problem_type = None  # the head's former task; here it is classification
        torch.manual_seed(seed)
        network, info = AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, ignore_mismatched_sizes=True, **options
        )
    mismatched = sorted((name, tuple(here), tuple(there)) for name, here, there in info["mismatched_keys"])
    missing = set(info["missing_keys"]) | {name for name, _, _ in mismatched}
    _refuse_left_out_layers(folder, info["unexpected_keys"], config)
    lost = sorted(name for name in missing if not _belongs_to_head(name, network.base_model_prefix))
    if lost:
        raise CheckpointError(f"{folder} lacks {len(lost)} weights of its own architecture (first: {lost[0]})")
    return network, missing, mismatched


def _refuse_left_out_layers(folder: Path, unexpected: Iterable[str], config: Any) -> None:
    """Refuse weights with more layers than the config states, since the network would silently omit some of them."""
    depth = getattr(config.get_text_config(), "num_hidden_layers", None)
    found = [int(match[1]) for name in unexpected if (match := _LAYER.search(name))]
    if isinstance(depth, int) and any(number >= depth for number in found):
        raise CheckpointError(
            f"{folder} holds {1 + max(found)} layers, but its {MODEL_CONFIG} states {depth}; the others would be left out"
        )


def _belongs_to_head(name: str, prefix: str) -> bool:
    return not name.startswith(f"{prefix}.") or ".pooler." in name
