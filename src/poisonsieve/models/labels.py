"""The class names of a checkpoint, and how they compare with the data's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from poisonsieve.errors import CheckpointError
from poisonsieve.models.metadata import read_metadata
from poisonsieve.models.safety import ADAPTER_CONFIG, MODEL_CONFIG, is_adapter
from poisonsieve.parsing import read_json

_MOST_CLASSES = 100_000


def head_label_names(folder: Path) -> list[str] | None:
    """Return the class names of a checkpoint's head, including the default names of libraries.

    None for an adapter that states none and whose base is not available or has only default names.

    Raises:
        CheckpointError: the class names in the checkpoint's files are invalid.
    """
    if is_adapter(folder):
        own, base = read_metadata(folder).label_names, base_label_names(folder)
        return own or (None if base is None or is_generic(base) else base)
    config = read_json(folder / MODEL_CONFIG)
    # transformers omits its default names from the file.
    mapping = config.get("id2label") or {str(i): f"LABEL_{i}" for i in range(_count(folder, config))}
    return names_by_number(mapping, str(folder / MODEL_CONFIG))


def base_label_names(folder: Path, base: str | Path | None = None) -> list[str] | None:
    """Return the class names of an adapter's base, or None if the base is not on this machine."""
    found = Path(str(base or read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")))
    try:
        if is_adapter(found) or not (found / MODEL_CONFIG).is_file():
            return None
    except (OSError, ValueError):
        return None
    return head_label_names(found)


def names_by_number(mapping: object, where: str) -> list[str]:
    """Return the class names in an `id2label`, by class number.

    Raises:
        CheckpointError: it does not map the numbers 0 ... K-1 to distinct names; the message begins with `where`.
    """
    try:
        by_number = {int(key): str(name) for key, name in mapping.items()}  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        raise CheckpointError(
            f"{where}: id2label is not a map from class numbers to names; correct it or remove it"
        ) from None
    if sorted(by_number) != list(range(len(by_number))) or len(by_number) < len(mapping):  # type: ignore[arg-type]
        numbers = ", ".join(map(str, sorted(by_number)[:5]))
        raise CheckpointError(
            f"{where}: id2label numbers the classes {numbers}{', ...' if len(by_number) > 5 else ''}; outputs count from 0 "
            "without a gap: correct it or remove it"
        )
    names = [by_number[number] for number in range(len(by_number))]
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise CheckpointError(f"{where}: id2label calls two classes {twice!r}; give each a name of its own")
    return names


def refuse_other_outputs(config: Mapping[str, object], named: str) -> None:
    """Refuse a model whose outputs are not mutually exclusive classes, since a softmax over them means nothing.

    Args:
        config: the model's config, of which `problem_type` is checked.
        named: name of the model, for messages.

    Raises:
        CheckpointError: the model was trained for several labels per text, or for regression.
    """
    problem = config.get("problem_type")
    if problem in (None, "single_label_classification"):
        return
    kinds = {"multi_label_classification": "several labels per text", "regression": "numbers, a regression"}
    raise CheckpointError(
        f"the outputs of {named} are {kinds.get(str(problem), f'of the kind {str(problem)[:40]!r}')} (problem_type in its "
        "config), but a guard needs a model with exactly one class per text"
    )


def _count(folder: Path, config: Mapping[str, object]) -> int:
    count = config.get("num_labels", 2)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST_CLASSES:
        raise CheckpointError(
            f"{folder / MODEL_CONFIG}: num_labels is {str(count)[:20]}, not a number from 1 to {_MOST_CLASSES}"
        )
    return count


def is_generic(names: Sequence[str]) -> bool:
    """Tell whether the names are only numbers, such as libraries' defaults."""
    return all(name in (str(index), f"LABEL_{index}") for index, name in enumerate(names))


def same_classes(left: Sequence[str], right: Sequence[str]) -> bool:
    """Tell whether two lists name the same classes in the same order; names that are only numbers match any."""
    return len(left) == len(right) and (list(left) == list(right) or is_generic(left) or is_generic(right))
