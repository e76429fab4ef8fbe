"""The class names of a checkpoint, and whether they are the data's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from poisonsieve.errors import CheckpointError
from poisonsieve.models.metadata import read_metadata
from poisonsieve.models.safety import ADAPTER_CONFIG, MODEL_CONFIG, is_adapter
from poisonsieve.parsing import read_json

_MOST_CLASSES = 100_000


def head_label_names(folder: Path) -> list[str] | None:
    """Names of the classes a checkpoint's head has, those that libraries fill in too.

    None for an adapter that says none, and whose base is not at hand or has only such names.

    Raises:
        CheckpointError: the checkpoint's files do not say them as they should.
    """
    if is_adapter(folder):
        own, base = read_metadata(folder).label_names, base_label_names(folder)
        return own or (None if base is None or is_generic(base) else base)
    config = read_json(folder / MODEL_CONFIG)
    # transformers leaves the names out of the file when they are its own defaults.
    mapping = config.get("id2label") or {str(i): f"LABEL_{i}" for i in range(_count(folder, config))}
    return names_by_number(mapping, str(folder / MODEL_CONFIG))


def base_label_names(folder: Path, base: str | Path | None = None) -> list[str] | None:
    """The class names of an adapter's base, where that is at hand; else None."""
    found = Path(str(base or read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")))
    try:
        if is_adapter(found) or not (found / MODEL_CONFIG).is_file():
            return None
    except (OSError, ValueError):
        return None
    return head_label_names(found)


def names_by_number(mapping: object, where: str) -> list[str]:
    """The class names in an `id2label`, by class number.

    Raises:
        CheckpointError: it is no map from the numbers 0 ... K-1 to names; the message begins with `where`.
    """
    try:
        by_number = {int(key): str(name) for key, name in mapping.items()}  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        raise CheckpointError(
            f"{where}: id2label is not a map from class numbers to names; mend it or leave it out"
        ) from None
    if sorted(by_number) != list(range(len(by_number))) or len(by_number) < len(mapping):  # type: ignore[arg-type]
        numbers = ", ".join(map(str, sorted(by_number)[:5]))
        raise CheckpointError(
            f"{where}: id2label numbers the classes {numbers}{', ...' if len(by_number) > 5 else ''}; outputs count from 0 "
            "without a gap: mend it or leave it out"
        )
    names = [by_number[number] for number in range(len(by_number))]
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise CheckpointError(f"{where}: id2label calls two classes {twice!r}; give each a name of its own")
    return names


def refuse_other_outputs(config: Mapping[str, object], named: str) -> None:
    """Refuse outputs that are no classes of which a text has one: softmax over them would make up confidences.

    Args:
        config: the `problem_type` in it is looked at.
        named: what to call the model.

    Raises:
        CheckpointError: it is trained for several labels a text, or for a regression.
    """
    problem = config.get("problem_type")
    if problem in (None, "single_label_classification"):
        return
    says = {"multi_label_classification": "several labels a text may have", "regression": "numbers, a regression"}
    raise CheckpointError(
        f"the outputs of {named} are {says.get(str(problem), f'of the kind {str(problem)[:40]!r}')} (problem_type in its "
        "config), not classes of which a text has one; guards are for such classes alone"
    )


def _count(folder: Path, config: Mapping[str, object]) -> int:
    count = config.get("num_labels", 2)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST_CLASSES:
        raise CheckpointError(
            f"{folder / MODEL_CONFIG}: num_labels is {str(count)[:20]}, not a number from 1 to {_MOST_CLASSES}"
        )
    return count


def is_generic(names: Sequence[str]) -> bool:
    """Whether the names are only numbers, such as libraries fill in."""
    return all(name in (str(index), f"LABEL_{index}") for index, name in enumerate(names))


def same_classes(left: Sequence[str], right: Sequence[str]) -> bool:
    """Whether two lists name the same classes in the same order; names that are only numbers fit any."""
    return len(left) == len(right) and (list(left) == list(right) or is_generic(left) or is_generic(right))
