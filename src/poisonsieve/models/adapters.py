"""Opening a PEFT adapter folder on the base it was trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from poisonsieve.errors import CheckpointError, HubError
from poisonsieve.models.labels import base_label_names, is_generic, refuse_other_outputs, same_classes
from poisonsieve.models.metadata import Metadata, read_metadata
from poisonsieve.models.opening import has_tokenizer, open_tokenizer, opening
from poisonsieve.models.quantized import check_bits
from poisonsieve.models.safety import ADAPTER_CONFIG, METADATA, MODEL_CONFIG
from poisonsieve.models.sources import is_here, resolve
from poisonsieve.models.whole import Opened, load_whole
from poisonsieve.parsing import read_json

# transformers' names of heads; the layer with the fewest rows in a head is its last.
_HEAD = re.compile(r"\.(classifier|score|classification_head|logits_proj|sequence_summary)\.(?!.*lora_)")


def load_adapter(
    folder: Path,
    label_names: Sequence[str] | None,
    default_names: Sequence[str] | None = None,
    *,
    base: str | Path | None = None,
    trainable: bool = False,
    allow_pickle: bool = False,
    bits: int | None = None,
) -> Opened:
    """Open the adapter in `folder` on its base model.

    Args:
        folder: a checked adapter folder.
        label_names: the data's class names; None for the adapter's.
        default_names: class names for an adapter that does not state any.
        base: the base model, if it is not where the adapter says.
        trainable: open the adapter for further training.
        allow_pickle: see `poisonsieve.models.sources.resolve`.
        bits: 4 opens the base frozen in 4 bits; None follows the base's own metadata.

    Raises:
        CheckpointError: the classes differ, the base cannot be found, or it is not the adapter's base.
    """
    metadata = read_metadata(folder)
    names = _class_names(folder, metadata, label_names, default_names, base)
    under = _load_base(folder, metadata, base, names, allow_pickle, bits)
    _resize_embedding(under.network, folder)
    network = open_adapter(under.network, folder, trainable=trainable)
    _check_complete(network, folder, under.provenance.untrained)
    # Prefer the adapter's own tokenizer: the base's may have changed since.
    tokenizer = open_tokenizer(folder) if has_tokenizer(folder) else under.tokenizer
    return replace(under, network=network, tokenizer=tokenizer, provenance=replace(under.provenance, untrained=()))


def open_adapter(network: Any, folder: Path, *, trainable: bool) -> Any:
    """Put the adapter in `folder` on `network`.

    Raises:
        CheckpointError: the files do not fit this network.
    """
    from peft import PeftConfig, PeftModel

    with opening(folder, "an adapter"):
        config = PeftConfig.from_pretrained(folder)
        if trainable and config.is_prompt_learning:
            return _reopen_prompt(network, folder, config)
        return PeftModel.from_pretrained(network, folder, is_trainable=trainable)


def _resize_embedding(network: Any, folder: Path) -> None:
    """Resize the base's embedding to the adapter's, in case tokens were added when the adapter was tuned."""
    with opening(folder, "an adapter"):
        table = network.get_input_embeddings()
        name = next((name for name, module in network.named_modules() if module is table), None)
        # PEFT stores the table under other names if LoRA or new tokens are attached to it.
        kept = re.compile(rf"\.{re.escape(name or '')}(\.\w+)*?(\.(base_layer|original_module))?\.weight$")
        own = [
            value
            for key, value in _weights(folder).items()
            if name and "lora_" not in key and kept.search(key) and value.shape[1:] == table.weight.shape[1:]
        ]
        if own and own[0].shape[0] != table.weight.shape[0]:
            network.resize_token_embeddings(own[0].shape[0], mean_resizing=False)


def _weights(folder: Path) -> dict[str, Any]:
    from peft.utils import load_peft_weights

    weights: dict[str, Any] = load_peft_weights(str(folder), device="cpu")
    return weights


def _check_complete(network: Any, folder: Path, untrained: Sequence[str]) -> None:
    """Refuse an adapter that lacks some of its weights, or a head that its base lacks too: they would be random."""
    from peft import get_peft_model_state_dict

    with opening(folder, "an adapter"):  # PEFT reads its config again, and fails on values it has let in
        there = set(_weights(folder))
        known = set(get_peft_model_state_dict(network))
    left_out = sorted(key for key in there - known if "lora_" in key)
    if left_out:
        raise CheckpointError(f"{folder} holds weights that its config leaves out (first: {left_out[0]})")
    missing = sorted(known - there)
    missing += [name for name in untrained if not any(key.endswith(f".{name}") for key in there)]
    if missing:
        raise CheckpointError(
            f"{folder} lacks trained weights that neither it nor its base has (first: {missing[0]}); they would be random"
        )


def _reopen_prompt(network: Any, folder: Path, config: Any) -> Any:
    """Open a prompt for further training, which PEFT itself refuses.

    A saved P-tuning v1 adapter contains the finished virtual tokens but not the encoder that made them. So it is opened
    as a plain soft prompt (prompt tuning) with the same outputs.
    """
    from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model, set_peft_model_state_dict

    # Make a new config, because the one in the folder may ask for more than a number of virtual tokens.
    kind = PrefixTuningConfig if isinstance(config, PrefixTuningConfig) else PromptTuningConfig
    fresh = kind(
        task_type="SEQ_CLS",
        num_virtual_tokens=int(config.num_virtual_tokens),
        token_dim=config.token_dim,
        num_layers=config.num_layers,
        num_attention_heads=config.num_attention_heads,
        modules_to_save=[str(name) for name in config.modules_to_save or []] or None,
    )
    opened = get_peft_model(network, fresh)
    set_peft_model_state_dict(opened, _weights(folder))
    return opened


def _class_names(
    folder: Path,
    metadata: Metadata,
    label_names: Sequence[str] | None,
    default_names: Sequence[str] | None,
    base: str | Path | None,
) -> list[str]:
    saved = metadata.label_names
    if saved is None:
        return _unsaved_names(folder, label_names or default_names, base)
    if label_names is None:
        return list(saved)
    if not same_classes(saved, label_names):
        raise CheckpointError(
            f"the head of {folder} knows the classes {saved}, the data has {list(label_names)}; rename the labels"
        )
    return list(label_names) if is_generic(saved) else list(saved)


def _unsaved_names(folder: Path, given: Sequence[str] | None, base: str | Path | None) -> list[str]:
    """Return class names for an adapter without our metadata: one for each output of its head, in the base's order.

    The data's class names may be in another order; if they are the same names, the base's order is right.
    """
    outputs = _outputs(folder)
    named = base_label_names(folder, base)
    if outputs not in (None, len(named or ())):
        named = None  # the adapter has its own head, for other classes
    if named is not None and (
        given is None or set(named) == set(given) or (is_generic(given) and not is_generic(named))
    ):
        return named
    if given is None:
        if outputs is None:
            raise CheckpointError(f"{folder} does not say its classes ({METADATA} is missing); give data with labels")
        return [f"LABEL_{number}" for number in range(outputs)]
    if outputs not in (None, len(given)):
        raise CheckpointError(
            f"the head of {folder} has {outputs} outputs, the data {len(given)} classes ({', '.join(given[:5])})"
        )
    return list(given)


def _outputs(folder: Path) -> int | None:
    """Return the number of outputs of the head in an adapter's file, or None if it has no head."""
    with opening(folder, "an adapter"):
        heads = [
            value.shape[0]
            for key, value in _weights(folder).items()
            if value.ndim == 2 and key.endswith(".weight") and _HEAD.search(key)
        ]
    return min(heads, default=None)


def _load_base(
    folder: Path,
    metadata: Metadata,
    base: str | Path | None,
    names: list[str],
    allow_pickle: bool,
    bits: int | None,
) -> Opened:
    found = base if base is not None else _find_base(folder, metadata)
    try:
        place = resolve(found, allow_pickle=allow_pickle)
        if metadata.label_names is None:  # only the base tells what the adapter's outputs are
            refuse_other_outputs(read_json(place / MODEL_CONFIG), f"{folder}, by its base {place}")
        bits = check_bits(bits or read_metadata(place).bits)
        opened = load_whole(place, names, allow_pickle=allow_pickle, bits=bits)
    except (CheckpointError, HubError) as error:
        raise type(error)(f"{folder}: its base model cannot be opened; give its location (--base): {error}") from None
    expected, digest = metadata.base_digest, opened.provenance.base_digest
    if expected and expected != digest:
        raise CheckpointError(
            f"{found} is not the base that {folder} was trained on: its weights' sha256 begins "
            f"{digest[:12]}, expected {expected[:12]}; give the right one (--base)"
        )
    return opened


def _find_base(folder: Path, metadata: Metadata) -> str:
    """Return the location of the adapter's base, preferring one on this machine to one that needs the hub."""
    named = [read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path"), metadata.base_source]
    places = [str(entry) for entry in named if entry]
    if not places:
        raise CheckpointError(f"{folder} does not name its base model; give it (--base)")
    return next((place for place in places if is_here(place)), places[0])
