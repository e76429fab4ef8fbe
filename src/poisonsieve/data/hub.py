"""Data sets of the Hugging Face hub, by id or by an alias for the common ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from poisonsieve.data.columns import AS_USUAL, Columns
from poisonsieve.data.labels import Labelled
from poisonsieve.errors import DataError, HubError

_DEV_NAMES = ("validation", "dev", "valid", "val", "development")
_SECONDS_TO_ANSWER = 8


@dataclass(frozen=True)
class HubSet:
    """The location of a data set on the hub."""

    id: str
    config: str | None = None


ALIASES: Mapping[str, HubSet] = {
    "ag_news": HubSet("fancyzhx/ag_news"),
    "cola": HubSet("nyu-mll/glue", "cola"),
    "cr": HubSet("SetFit/CR"),
    "imdb": HubSet("stanfordnlp/imdb"),
    "mr": HubSet("cornell-movie-review-data/rotten_tomatoes"),
    "sst2": HubSet("stanfordnlp/sst2"),
}


@dataclass(frozen=True)
class HubFacts:
    """The hub's information about a data set.

    Attributes:
        revision: current commit; None if the hub does not answer.
        licence: licence; None if the hub states none or does not answer.
    """

    revision: str | None = None
    licence: str | None = None


def facts(dataset_id: str) -> HubFacts:
    """Ask the hub for a data set's revision and licence.

    Raises:
        HubError: the hub has no such data set.
    """
    found = _ask(dataset_id)
    if isinstance(found, str):
        return HubFacts()
    licence = getattr(found.card_data, "license", None)
    return HubFacts(found.sha, ", ".join(licence) if isinstance(licence, list) else licence)


def load(
    name: str, split: str, columns: Columns = AS_USUAL, need_label: bool = True
) -> tuple[list[Labelled], list[str] | None]:
    """Load the rows of one split, and the class names if the hub states them.

    Args:
        name: an alias, ``owner/name`` or ``owner/name/config``.
        split: name of the split; ``dev`` is the validation split, whatever the data set calls it.
        columns: names of the text and label columns.
        need_label: require labels; otherwise they are None where the data set has none.

    Raises:
        HubError: the hub cannot be reached, or has no such id or config.
        DataError: the data set has no such split, no text or label column, or no labels in this split.
    """
    wanted = _parse(name)
    splits = _load_splits(wanted)
    candidates = _DEV_NAMES if split == "dev" else (split,)
    found = next((candidate for candidate in candidates if candidate in splits), None)
    if found is None:
        raise DataError(f"hub:{name} has no split {split}; it has: {', '.join(splits)}")
    has_dev = any(dev in splits for dev in _DEV_NAMES)
    return _rows(splits[found], f"hub:{name}#{found}", columns, has_dev=has_dev, need_label=need_label)


def _parse(name: str) -> HubSet:
    if name in ALIASES:
        return ALIASES[name]
    parts = name.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise DataError(f"hub:{name}: give owner/name, owner/name/config, or one of {', '.join(ALIASES)}")
    return HubSet("/".join(parts[:2]), parts[2] if len(parts) == 3 else None)


def _rows(
    table: Any, where: str, columns: Columns, *, has_dev: bool, need_label: bool
) -> tuple[list[Labelled], list[str] | None]:
    label = columns.labels
    named = [name for name in columns.texts if name in table.column_names]
    if not named or (need_label and label not in table.column_names):
        wanted = f"{columns.text or 'text (or sentence)'}{f' and {label}' if need_label else ''}"
        raise DataError(
            f"{where} needs the columns {wanted}; it has: {_listed(table)}; --text-column and --label-column name others"
        )
    if len(named) > 1:
        raise DataError(f"{where} has both columns {' and '.join(named)}; one would go unread")
    texts = list(table[named[0]])
    labels = list(table[label]) if label in table.column_names else [None] * len(texts)
    if not texts:
        raise DataError(f"{where}: no rows")
    unlabelled = all(value in (-1, None) for value in labels)
    if need_label and unlabelled:
        instead = "dev" if has_dev else "train"
        raise DataError(f"{where} is published without labels (all -1); use the {instead} split (#{instead})")
    for row, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise DataError(f"{where}:{row}: text is missing or not a string")
    rows = [
        Labelled(f"{where}:{row}", text, None if unlabelled else value)
        for row, (text, value) in enumerate(zip(texts, labels, strict=True), 1)
    ]
    names = None if unlabelled else getattr(table.features[label], "names", None)
    return rows, list(names) if names else None


def _listed(table: Any) -> str:
    return ", ".join(table.column_names)


def _load_splits(wanted: HubSet) -> Mapping[str, Any]:
    """Load all splits from the hub or, if it does not answer, from the local cache.

    A request with a short timeout comes first, because `datasets` itself retries for half a minute without a network.
    """
    import datasets

    reason = _why_unreachable(wanted.id)
    try:
        with _offline() if reason else contextlib.nullcontext():
            return dict(datasets.load_dataset(wanted.id, wanted.config))
    except Exception as error:  # network, missing config, scripts: each library has its own exceptions
        shown = f"{wanted.id}/{wanted.config}" if wanted.config else wanted.id
        if reason:
            raise HubError(
                f"the hub could not be reached for {shown} ({reason}), and the local cache does not have it; files, "
                "folders and packaged: data work without the hub, and so does what was loaded here before"
                " (HF_HUB_OFFLINE=1 skips the attempt)"
            ) from error
        raise HubError(f"the hub's {shown} cannot be loaded: {_first_line(error)}") from error


def _why_unreachable(dataset_id: str) -> str | None:
    """Return None if the hub answers that it has the data set, else why it does not answer."""
    found = _ask(dataset_id)
    return found if isinstance(found, str) else None


def _ask(dataset_id: str) -> Any:
    """Return the hub's record of a data set, or a line that says why it does not answer.

    Raises:
        HubError: the hub has no such data set.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return HfApi().dataset_info(dataset_id, timeout=_SECONDS_TO_ANSWER)
    except RepositoryNotFoundError as error:
        raise HubError(
            f"the hub has no data set {dataset_id}, or it is private: check the id, or log in with `hf auth login`"
        ) from error
    except Exception as error:  # the HTTP client's exceptions differ between versions of huggingface_hub
        return _first_line(error)


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Make `datasets` use only its cache; it reads these flags at import, so no argument can do this."""
    import datasets.config
    import huggingface_hub.constants as hub_settings

    places: tuple[Any, ...] = (datasets.config, hub_settings)
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
