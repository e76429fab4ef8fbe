"""Load the rows and classes that options name."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from poisonsieve.data.columns import AS_USUAL, Columns

if TYPE_CHECKING:
    import datasets


def load_rows(
    spec: str,
    split: str,
    label_names: list[str] | None = None,
    columns: Columns = AS_USUAL,
    *,
    need_label: bool = True,
) -> datasets.Dataset:
    """Load a data set for the role that `split` names; `#SPLIT` in `spec` takes precedence."""
    from poisonsieve.data import load_dataset

    return load_dataset(spec, split=split, label_names=label_names, columns=columns, need_label=need_label)


def load_for_model(
    spec: str,
    split: str,
    model: str,
    *,
    columns: Columns = AS_USUAL,
    allow_pickle: bool = False,
    keep_head: bool = False,
    need_label: bool = True,
) -> datasets.Dataset:
    """Load a data set with the class names saved with the model, if it has any and the data fits them.

    Args:
        spec: a data set, see `poisonsieve.data.load_dataset`.
        split: the split to read if `spec` names none.
        model: the model to train.
        columns: names of the text and label columns.
        allow_pickle: see `poisonsieve.models.sources.resolve`.
        keep_head: the model's head is needed as it is, so a row of another class is an error.
        need_label: require labels; otherwise data without labels have no column `label`.

    Raises:
        CheckpointError: `model` is a guard, or not a checkpoint.
        DataError: a row cannot be used.
    """
    from poisonsieve.data import labels_of
    from poisonsieve.data.classes import listing
    from poisonsieve.errors import CheckpointError, DataError
    from poisonsieve.guard.folder import is_guard
    from poisonsieve.models.labels import head_label_names, is_generic
    from poisonsieve.models.sources import resolve

    folder = resolve(model, allow_pickle=allow_pickle)
    if is_guard(folder):
        raise CheckpointError(f"{model} is a guard, which has unlearned its task; give the model it was fitted on")
    names = head_label_names(folder)
    load = functools.partial(load_rows, spec, split, columns=columns, need_label=need_label)
    if names is not None and not is_generic(names):
        with contextlib.suppress(DataError):  # other classes: the caller decides whether that is allowed
            return load(names)
    try:
        rows = load(None)
    except DataError as error:
        if names is None or str(error) == _refusal(load, names):
            raise
        raise DataError(f"{error}; or label the rows by the model's classes: {listing(names)}") from None
    if keep_head and names is not None and len(labels_of(rows)) > len(names):
        return load(names)  # raises, and names the row
    return rows


def _refusal(load: Callable[[list[str]], datasets.Dataset], names: list[str]) -> str | None:
    """Return why rows cannot be loaded with these classes; None if they can."""
    from poisonsieve.errors import DataError

    try:
        load(names)
    except DataError as error:
        return str(error)
    return None


def with_dev(
    data: datasets.Dataset, dev: str | None, seed: int, columns: Columns = AS_USUAL
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Return training rows and dev rows; without `--dev`, a seeded tenth of the training rows is held out."""
    from poisonsieve.data import labels_of, split_off

    if dev is not None:
        return data, load_rows(dev, "dev", labels_of(data), columns)
    return split_off(data, 0.1, seed)


def class_index(target: str, names: list[str]) -> int:
    """Return the class that `--target` names, by number or by name.

    Raises:
        ConfigError: there is no such class.
    """
    from poisonsieve.data import class_number

    return class_number(target, names, "--target")
