"""Loading a `Classifier` from an alias (`minilm`), a folder or a hub id, and saving it."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from poisonsieve.environment import device_type
from poisonsieve.errors import CheckpointError, ConfigError, PoisonsieveWarning, UnsupportedError
from poisonsieve.models.adapters import load_adapter
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.metadata import FEWEST_TOKENS, Metadata, read_metadata
from poisonsieve.models.opening import quiet_transformers
from poisonsieve.models.provenance import Provenance
from poisonsieve.models.quantized import BITS, check_bits
from poisonsieve.models.safety import METADATA, identity_digest, is_adapter
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
    default_names: Sequence[str] | None = None,
) -> Classifier:
    """Open a whole model or an adapter folder as a classifier.

    Args:
        source: packaged alias, folder, or hub id.
        label_names: the data's K class names; None for the checkpoint's own.
        head: ``trained`` refuses a checkpoint without a trained head for these classes. ``any`` gives it a new random
            head, drawn from `seed`, and sets `head_is_new`.
        max_length: number of tokens to which a text is truncated; by default the checkpoint's own, else 256.
        base: for an adapter, its base model, if it is not where the adapter says.
        trainable: open an adapter for further training.
        allow_pickle: see `resolve`.
        bits: 4 opens the base frozen in 4 bits; None follows the folder's metadata, which usually means full precision.
        seed: seed of a new head.
        default_names: class names for an adapter that states none, such as one written by PEFT alone. Without them its
            classes are LABEL_0, LABEL_1, ...

    Raises:
        CheckpointError: there is no checkpoint or no trained head; the head's classes are not the data's; weights are
            missing; the base is not the one the adapter was trained on; the outputs are not classes (a regression, or
            several labels per text); or the length limit leaves no room for text.
        UnsafeWeightsError, HubError: see `resolve`.
        UnsupportedError: 4 bits are requested but bitsandbytes is not installed; or the network cannot be run on text.
    """
    folder = resolve(source, allow_pickle=allow_pickle)
    metadata = read_metadata(folder)
    length = _checked_length(metadata.max_length if max_length is None else max_length)
    bits = check_bits(bits or metadata.bits)
    if is_adapter(folder):
        opened = load_adapter(
            folder, label_names, default_names, base=base, trainable=trainable, allow_pickle=allow_pickle, bits=bits
        )
    else:
        opened = load_whole(
            folder, label_names, head=head, seed=seed, allow_pickle=allow_pickle, bits=bits, named=str(source)
        )
    known = _provenance(str(source), folder, metadata, opened.provenance)
    classifier = Classifier(opened.network, opened.tokenizer, opened.label_names, max_length=length, provenance=known)
    if known.bits is None:  # bitsandbytes places 4-bit weights itself
        classifier.to(pick_device())
    classifier.eval()
    _refuse_non_finite(folder, classifier)
    check_room(classifier)
    warn_of_company(classifier)
    return classifier


def _checked_length(length: object) -> int:
    if isinstance(length, bool) or not isinstance(length, numbers.Integral):
        raise ConfigError(f"max_length is {str(length)[:20]}, not a number of tokens")
    return int(length)


def _provenance(source: str, folder: Path, metadata: Metadata, read: Provenance) -> Provenance:
    """Complete the provenance of the weights in `folder` from that of the whole model that was `read`."""
    base = read.base_folder or folder
    folders = [folder] if base == folder else [folder, base]
    descends = bool(metadata.origins) or is_adapter(folder)
    return replace(
        read,
        source=source,
        identity=identity_digest(folders),
        origins=(*metadata.origins, read.base_digest) if descends else (),
    )


def _refuse_non_finite(folder: Path, classifier: Classifier) -> None:
    """Refuse weights that are not finite, even those of a single token: texts with it could not be scored or trained on."""
    import torch

    for name, weights in classifier.named_parameters():
        if not torch.isfinite(weights).all():
            raise CheckpointError(
                f"{folder} holds weights that are not finite numbers (first: {name.removeprefix('network.')}); no text "
                "could be judged by them"
            )


def check_room(classifier: Classifier) -> None:
    """Refuse a length limit so low that a guard would see almost nothing of a text and pass everything.

    Raises:
        CheckpointError: the limit is below `FEWEST_TOKENS`.
    """
    if classifier.max_length >= FEWEST_TOKENS:
        return
    if classifier.wanted_max_length < FEWEST_TOKENS:
        raise CheckpointError(
            f"{classifier.named} is to read {classifier.wanted_max_length} tokens of a text; give a limit of at least "
            f"{FEWEST_TOKENS} (--max-length)"
        )
    virtual = classifier.prompt_config.num_virtual_tokens if classifier.prompt_config is not None else 0
    beside = f", {virtual} of them virtual" if virtual else ""
    raise CheckpointError(
        f"{classifier.named} states a limit of {classifier.positions + virtual} tokens{beside} (model_max_length in "
        "tokenizer_config.json, or max_position_embeddings in config.json), which leaves no room for a text; correct it "
        "there, or remove it"
    )


def warn_of_company(classifier: Classifier) -> None:
    """Warn if texts of different lengths cannot share passes, which makes scoring slower.

    Raises:
        UnsupportedError: the network cannot be run on text, see `poisonsieve.models.layout.find_layout`.
    """
    company = classifier.layout.company
    if company == "any":
        return
    kind = classifier.base.config.model_type
    instead = "one text at a time" if company == "none" else "texts of one length at a time"
    warnings.warn(
        f"{classifier.named}: this {kind} model's result for a text depends on the other texts of its batch, so it "
        f"reads {instead}, which is correct but slower",
        PoisonsieveWarning,
        stacklevel=3,
    )


def pick_device() -> torch.device:
    """Return the device for models; see `poisonsieve.environment.device_type`."""
    import torch

    return torch.device(device_type())


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Write the network (a whole model, or PEFT's adapter files), its tokenizer and the metadata to reopen it.

    Args:
        classifier: the classifier to save.
        folder: an existing folder; see `poisonsieve.storage.writing_folder`.

    Raises:
        UnsupportedError: the classifier is a whole model in 4 bits, whose original weights are lost.
    """
    provenance = classifier.provenance
    if not classifier.is_peft and getattr(classifier.network, "is_quantized", False):
        raise UnsupportedError(
            f"{classifier.named} was opened in {BITS} bits, and such weights cannot be written; keep its folder"
        )
    classifier.base.config.id2label = dict(enumerate(classifier.label_names))
    classifier.base.config.label2id = {name: index for index, name in enumerate(classifier.label_names)}
    with quiet_transformers():
        classifier.network.save_pretrained(folder)
    classifier.tokenizer.save_pretrained(folder)
    metadata = {
        "label_names": classifier.label_names,
        "max_length": classifier.wanted_max_length,
        "base_source": provenance.source if classifier.is_peft else None,
        "base_digest": provenance.base_digest if classifier.is_peft else None,
        "origins": list(dict.fromkeys([*provenance.origins, provenance.base_digest])),
    }
    if provenance.bits is not None:
        metadata["bits"] = provenance.bits
    write_json(folder / METADATA, metadata)
