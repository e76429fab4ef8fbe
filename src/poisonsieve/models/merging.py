"""An adapter and its base as one whole model."""

from __future__ import annotations

from dataclasses import replace

from poisonsieve.errors import CheckpointError, UnsupportedError
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.whole import load_whole


def merged(classifier: Classifier, allow_pickle: bool = False) -> Classifier:
    """What a LoRA adapter on a base in 4 bits has learned, added to the base's own weights: a whole model again.

    The weights are on the processor, in the precision of the base's files. Saved, they are opened in 4 bits again, which
    rounds base and adapter together: logits are near those of `classifier`, not equal to them.

    Args:
        classifier: with a LoRA adapter; from a whole folder that is still there.
        allow_pickle: the folder holds pickled weights, which were scanned.

    Raises:
        UnsupportedError: the adapter is none that can be added to weights.
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
