"""From what the user wrote (`minilm`, a folder, a hub id) to a `Classifier`, safely and with its head accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from poisonsieve.errors import CheckpointError, UnsupportedError
from poisonsieve.models.adapters import load_adapter
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.opening import quiet_transformers
from poisonsieve.models.quantized import BITS, check_bits, compute_plainly, opened_in_bits
from poisonsieve.models.safety import METADATA, identity_digest, is_adapter, read_json
from poisonsieve.models.sources import resolve
from poisonsieve.models.whole import Head, load_whole
from poisonsieve.storage import write_json

if TYPE_CHECKING:
    import torch


def load_classifier(
    source: str | Path,
    *,
    label_names: Sequence[str] | None = None,
    head: Head = "trained",
    max_length: int | None = None,
    base: str | Path | None = None,
    trainable: bool = False,
    allow_pickle: bool = False,
    bits: int | None = None,
    seed: int = 0,
) -> Classifier:
    """Open a whole model or an adapter folder as a classifier.

    Args:
        source: packaged alias, folder, or hub id.
        label_names: the data's K class names. None takes the checkpoint's own.
        head: ``trained`` refuses a checkpoint that brings no trained head for these classes. ``any`` gives it a new
            random one, drawn from `seed`, and says so in `head_is_new`.
        max_length: tokens a text is cut to; default: what the checkpoint was tuned with, else 256.
        base: for an adapter: its base model, when it is not where the adapter says.
        trainable: open an adapter for further training.
        allow_pickle: see `resolve`.
        bits: 4 opens the base frozen in 4 bits; default: as the folder says, which is as it is for most.
        seed: of a new head.

    Raises:
        CheckpointError: no checkpoint; no trained head; the head's classes are not the data's; weights are missing;
            the base is not the one the adapter was trained on.
        UnsafeWeightsError, HubError: see `resolve`.
        UnsupportedError: 4 bits are asked for, and bitsandbytes is not installed.
    """
    folder = resolve(source, allow_pickle=allow_pickle)
    metadata = read_json(folder / METADATA) if (folder / METADATA).is_file() else {}
    length = max_length or metadata.get("max_length", 256)
    if not isinstance(length, int) or length < 1:
        raise CheckpointError(f"{folder / METADATA} is damaged: max_length is {length!r}, not a number of tokens")
    bits = check_bits(bits or metadata.get("bits"))
    if is_adapter(folder):
        classifier = load_adapter(folder, metadata, base, label_names, trainable, allow_pickle, bits)
    else:
        classifier = load_whole(folder, label_names, head, seed, allow_pickle, opened_in_bits(bits))
        classifier.bits = bits
    folders = [folder] if classifier.base_folder in (None, folder) else [folder, classifier.base_folder]
    classifier.identity = identity_digest([entry for entry in folders if entry is not None])
    ancestors = [str(entry) for entry in metadata.get("origins") or []]
    if ancestors or classifier.is_peft:
        classifier.origins = [*ancestors, classifier.base_digest]
    if classifier.bits is None:
        classifier.to(pick_device())
    else:  # bitsandbytes has put the weights where they stay
        compute_plainly(classifier.network)
    classifier.eval()
    classifier.source = str(source)
    classifier.wanted_max_length = length
    return classifier


def pick_device() -> torch.device:
    """Where models are put: the first GPU if there is one, else the processor."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Write the network (a whole model, or PEFT's adapter files), its tokenizer and what poisonsieve needs to reopen it.

    Args:
        classifier: what to save.
        folder: an existing folder; see `poisonsieve.storage.writing_folder`.

    Raises:
        UnsupportedError: a whole model whose weights are 4-bit roundings of those in its folder.
    """
    if not classifier.is_peft and getattr(classifier.network, "is_quantized", False):
        raise UnsupportedError(
            f"{classifier.source} was opened in {BITS} bits, and such weights cannot be written; keep its folder"
        )
    classifier.base.config.id2label = dict(enumerate(classifier.label_names))
    classifier.base.config.label2id = {name: index for index, name in enumerate(classifier.label_names)}
    with quiet_transformers():
        classifier.network.save_pretrained(folder)
    classifier.tokenizer.save_pretrained(folder)
    metadata = {
        "label_names": classifier.label_names,
        "max_length": classifier.wanted_max_length,
        "base_source": classifier.source if classifier.is_peft else None,
        "base_digest": classifier.base_digest if classifier.is_peft else None,
        "origins": list(dict.fromkeys([*classifier.origins, classifier.base_digest])),
    }
    if classifier.bits is not None:
        metadata["bits"] = classifier.bits
    write_json(folder / METADATA, metadata)
