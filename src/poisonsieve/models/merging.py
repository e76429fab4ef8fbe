"""Merging an adapter and its base into one whole model."""

from __future__ import annotations

from dataclasses import replace

from poisonsieve.errors import CheckpointError, UnsupportedError
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.whole import load_whole


def merged(classifier: Classifier, allow_pickle: bool = False) -> Classifier:
    """Add a LoRA adapter, trained on a 4-bit base, to the base's original weights.

    The merged weights are on the CPU, in the precision of the base's files. Saved and opened in 4 bits again, base and
    adapter are rounded together, so the logits are close but not equal to those of `classifier`.

    Args:
        classifier: a classifier with a LoRA adapter, whose base folder still exists.
        allow_pickle: whether the base folder may contain pickled weights, which were scanned.

    Raises:
        UnsupportedError: the adapter is not a LoRA adapter.
        CheckpointError: the base cannot be opened again, or has changed.
    """
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    if not classifier.is_peft or not hasattr(classifier.network, "merge_and_unload"):
        raise UnsupportedError("only a LoRA adapter can be merged into its base")
    known = classifier.provenance
    if known.base_folder is None:
        raise CheckpointError("the base was not read from a folder, so nothing can be merged into it")
    whole = load_whole(known.base_folder, classifier.label_names, allow_pickle=allow_pickle, dtype="auto")
    if whole.provenance.base_digest != known.base_digest:
        raise CheckpointError(f"{known.base_folder} holds other weights than when the adapter was trained on it")
    adapter = get_peft_model_state_dict(classifier.network)
    network = get_peft_model(whole.network, classifier.network.active_peft_config)
    set_peft_model_state_dict(network, {name: value.cpu() for name, value in adapter.items()})
    return Classifier(
        network.merge_and_unload(),
        classifier.tokenizer,
        whole.label_names,
        max_length=classifier.wanted_max_length,
        provenance=replace(known, identity="", untrained=()),  # no files hold these weights yet
    ).eval()
