"""From what the user wrote (`minilm`, a folder, a hub id) to a `Classifier`, safely and with its head accounted for."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from poisonsieve.errors import CheckpointError, HubError
from poisonsieve.models import packaged
from poisonsieve.models.classifier import Classifier
from poisonsieve.models.safety import ADAPTER_CONFIG, check_folder, is_adapter, read_json, weights_digest

METADATA = "poisonsieve.json"
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
Head = Literal["trained", "any"]


def resolve(source: str | Path, *, allow_pickle: bool = False) -> Path:
    """The local folder of a packaged alias (`minilm`), a folder, or a hub id (`bert-base-uncased`, `hub:owner/name`).

    A folder wins over a hub id of the same name, and an alias over both; write `./minilm` for a folder of that name.

    Raises:
        CheckpointError: no such folder, or it is no checkpoint.
        UnsafeWeightsError: see `poisonsieve.models.safety.check_folder`.
        HubError: the hub cannot be reached or has no such id.
    """
    name = str(source)
    if name in packaged.packaged_names():
        return packaged.packaged_folder(name)
    path = Path(name)
    if path.exists():
        check_folder(path, allow_pickle=allow_pickle)
        return path
    looks_local = path.is_absolute() or name.startswith((".", "~")) or name.endswith("/") or name.count("/") > 1
    if looks_local and not name.startswith("hub:"):
        raise CheckpointError(f"{name} does not exist; give a folder, a hub id, or one of {_aliases()}")
    folder = _download(name.removeprefix("hub:"), allow_pickle=allow_pickle)
    check_folder(folder, allow_pickle=allow_pickle)
    return folder


def saved_label_names(folder: Path) -> list[str] | None:
    """The class names a checkpoint was saved with, or None when it names none.

    `LABEL_0`-style names and plain numbers are what libraries fill in: they count as none.
    """
    if is_adapter(folder):
        names = read_json(folder / METADATA).get("label_names") if (folder / METADATA).is_file() else None
        return None if names is None or _is_generic(names) else list(names)
    mapping = read_json(folder / "config.json").get("id2label") or {}
    names = [mapping[key] for key in sorted(mapping, key=int)]
    return None if _is_generic(names) else names


def load_classifier(
    source: str | Path,
    *,
    label_names: Sequence[str] | None = None,
    head: Head = "trained",
    max_length: int | None = None,
    base: str | Path | None = None,
    trainable: bool = False,
    allow_pickle: bool = False,
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
        seed: of a new head.

    Raises:
        CheckpointError: no checkpoint; no trained head; the head's classes are not the data's; weights are missing;
            the base is not the one the adapter was trained on.
        UnsafeWeightsError, HubError: see `resolve`.
    """
    folder = resolve(source, allow_pickle=allow_pickle)
    metadata = read_json(folder / METADATA) if (folder / METADATA).is_file() else {}
    length = max_length or int(metadata.get("max_length", 256))
    if is_adapter(folder):
        classifier = _load_adapter(folder, metadata, base, label_names, trainable, allow_pickle)
    else:
        classifier = _load_whole(folder, label_names, head, seed, allow_pickle)
    classifier.source = str(source)
    classifier.wanted_max_length = length
    return classifier


def save_classifier(classifier: Classifier, folder: Path, extra: dict[str, Any] | None = None) -> None:
    """Write the network (a whole model, or PEFT's adapter files), its tokenizer and what poisonsieve needs to reopen it.

    Args:
        classifier: what to save.
        folder: an existing folder; see `poisonsieve.storage.writing_folder`.
        extra: further JSON values for `poisonsieve.json`.
    """
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
        **(extra or {}),
    }
    (folder / METADATA).write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _load_whole(
    folder: Path, label_names: Sequence[str] | None, head: Head, seed: int, allow_pickle: bool
) -> Classifier:
    names, fits = _agree_on_labels(folder, label_names)
    if not fits and head == "trained":
        raise CheckpointError(
            f"the head of {folder} knows the classes {names}, the data has {list(label_names or [])}; "
            "tune a victim on this data first and start from that"
        )
    wanted = names if fits else list(label_names or [])
    network, missing = _open_network(folder, len(wanted), seed, allow_pickle)
    if missing and head == "trained":
        raise CheckpointError(
            f"{folder} brings no trained classification head (missing: {', '.join(sorted(missing)[:3])}); tune a victim "
            "on clean data first (poisonsieve tune) and start from that: the backdoor is still in it"
        )
    network.poisonsieve_untrained = sorted(missing)
    network.name_or_path = str(folder.absolute())  # what PEFT writes as the adapter's base
    return Classifier(
        network,
        _open_tokenizer(folder),
        wanted,
        head_is_new=bool(missing),
        base_digest=weights_digest(folder),
        base_folder=folder,
    )


def _agree_on_labels(folder: Path, label_names: Sequence[str] | None) -> tuple[list[str], bool]:
    """The checkpoint's class names, and whether they are the data's, in the data's order."""
    config = read_json(folder / "config.json")
    mapping = config.get("id2label") or {"0": "0", "1": "1"}
    saved = [str(mapping[key]) for key in sorted(mapping, key=int)]
    if label_names is None:
        return saved, True
    data = list(label_names)
    if len(saved) != len(data):
        return saved, False
    if _is_generic(saved):
        return data, True
    return saved, _is_generic(data) or saved == data


def _is_generic(names: Sequence[str]) -> bool:
    return all(name in (str(index), f"LABEL_{index}") for index, name in enumerate(names))


def _open_network(folder: Path, classes: int, seed: int, allow_pickle: bool) -> tuple[Any, set[str]]:
    """The network and the names of those of its weights that the checkpoint did not hold."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        config = AutoConfig.from_pretrained(folder, num_labels=classes, trust_remote_code=False)
        with torch.random.fork_rng(devices=[]), quiet_transformers():
            torch.manual_seed(seed)
            network, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=None if allow_pickle else True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                trust_remote_code=False,
            )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{folder} cannot be opened as a classifier: {_first_line(error)}") from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise CheckpointError(f"{folder} holds damaged weights: {_first_line(error)}") from error
    mismatched = {entry[0] for entry in info["mismatched_keys"]}
    missing = set(info["missing_keys"]) | mismatched
    lost = sorted(name for name in missing if not _belongs_to_head(name, network.base_model_prefix))
    if lost:
        raise CheckpointError(f"{folder} lacks {len(lost)} weights of its own architecture (first: {lost[0]})")
    return network, missing


def _belongs_to_head(name: str, prefix: str) -> bool:
    return not name.startswith(f"{prefix}.") or ".pooler." in name


def _open_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} has no usable tokenizer: {_first_line(error)}") from error


def _load_adapter(
    folder: Path,
    metadata: dict[str, Any],
    base: str | Path | None,
    label_names: Sequence[str] | None,
    trainable: bool,
    allow_pickle: bool,
) -> Classifier:
    names = metadata.get("label_names") or (list(label_names) if label_names else None)
    if names is None:
        raise CheckpointError(f"{folder} does not say its classes ({METADATA} is missing); give data with labels")
    if label_names is not None and len(names) == len(label_names) and _is_generic(names):
        names = list(label_names)
    if (
        label_names is not None
        and list(label_names) != names
        and not (_is_generic(list(label_names)) and len(names) == len(label_names))
    ):
        raise CheckpointError(f"the head of {folder} knows the classes {names}, the data has {list(label_names)}")
    classifier = _load_base(folder, metadata, base, names, allow_pickle)
    classifier.network = open_adapter(classifier.network, folder, trainable=trainable)
    classifier.head_is_new = False
    return classifier


def _load_base(
    folder: Path, metadata: dict[str, Any], base: str | Path | None, names: list[str], allow_pickle: bool
) -> Classifier:
    wanted = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    candidates = [base] if base is not None else [wanted, metadata.get("base_source")]
    found = next((entry for entry in candidates if entry and (base is not None or _is_here(str(entry)))), None)
    if found is None:
        found = next((entry for entry in candidates if entry), None)
    if found is None:
        raise CheckpointError(f"{folder} does not name its base model; give it (--base)")
    try:
        classifier = _load_whole(resolve(found, allow_pickle=allow_pickle), names, "any", 0, allow_pickle)
    except (CheckpointError, HubError) as error:
        if base is None and not _is_here(str(found)):
            raise type(error)(
                f"{folder}: its base model {found} is not here; say where it is (--base): {error}"
            ) from None
        raise
    expected = metadata.get("base_digest")
    if expected and expected != classifier.base_digest:
        raise CheckpointError(
            f"{found} is not the base that {folder} was trained on: its weights' sha256 begins "
            f"{classifier.base_digest[:12]}, expected {expected[:12]}; give the right one (--base)"
        )
    return classifier


def _is_here(source: str) -> bool:
    return Path(source).is_dir() or source in packaged.packaged_names()


def open_adapter(network: Any, folder: Path, *, trainable: bool) -> Any:
    """`network` with the adapter in `folder` on it.

    A saved P-tuning v1 adapter holds the finished virtual tokens and no longer the encoder that made them. To train
    it further it is therefore opened as what it now is: a soft prompt (prompt tuning), with the same outputs.

    Raises:
        CheckpointError: the files do not fit this network.
    """
    from peft import PeftConfig, PeftModel, PromptEncoderConfig, PromptTuningConfig

    try:
        config = PeftConfig.from_pretrained(folder)
        if trainable and isinstance(config, PromptEncoderConfig):
            shared = {"task_type", "num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_layers"}
            shared |= {"num_attention_heads", "modules_to_save", "base_model_name_or_path"}
            config = PromptTuningConfig(**{key: getattr(config, key) for key in sorted(shared)})
        with quiet_transformers():
            return PeftModel.from_pretrained(network, folder, config=config, is_trainable=trainable)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{folder} cannot be opened as an adapter: {_first_line(error)}") from error


def _download(name: str, *, allow_pickle: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    patterns = [*_HUB_FILES, "*.bin"] if allow_pickle else _HUB_FILES
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except HFValidationError:
        raise CheckpointError(f"{name!r} is no folder, no hub id, and none of {_aliases()}") from None
    except Exception as error:  # the hub client raises many unrelated types, all meaning: not to be had
        raise HubError(
            f"{name} is no local folder, and the hub did not give it ({type(error).__name__}); check the spelling and "
            f"the network, or use a local folder or a packaged model ({_aliases()})"
        ) from error


def _aliases() -> str:
    return ", ".join(packaged.packaged_names())


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold back the loading reports of transformers: what matters in them is raised as an error here."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


__all__ = ["load_classifier", "open_adapter", "resolve", "save_classifier", "saved_label_names"]
