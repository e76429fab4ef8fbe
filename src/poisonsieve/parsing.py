"""Reading JSON and YAML, with repeated keys as errors.

The usual readers take the last of two equal keys. Another program may take the first, and a person sees both: one value
hides the other, and a text or a setting goes unread. So it is an error here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poisonsieve.errors import CheckpointError, ConfigError

#: Stands for the data root in every string of the file.
DATA_PLACEHOLDER = "{data}"


class RepeatedKeyError(ValueError):
    """A key occurs twice in one object."""


def parse_json(text: str | bytes | bytearray) -> Any:
    """Parse a JSON text.

    Raises:
        RepeatedKeyError: a key occurs twice in an object.
        ValueError, RecursionError: the text is not JSON, or is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_without_repeats)


def read_json(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file of a checkpoint.

    Raises:
        CheckpointError: the file is missing, unreadable, or not a JSON object.
    """
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} is no checkpoint: {path.name} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} does not hold a JSON object")
    return value


def parse_yaml(text: str) -> Any:
    """Parse a YAML text with the safe loader.

    Raises:
        RepeatedKeyError: a key occurs twice in a mapping.
        yaml.YAMLError: the text is not YAML, is nested too deeply, contains itself, or has an invalid value, such as the
            45th of a month.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """The safe loader, with a check for repeated keys."""

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        # Check only the keys written here, because keys merged by `<<` may be overridden.
        written = [loader.construct_object(key) for key, _ in node.value if not key.tag.endswith(":merge")]
        for place, key in enumerate(written):
            if key in written[:place]:
                raise RepeatedKeyError(
                    f"the key {str(key)[:60]} stands twice (line {node.start_mark.line + 1} and on)"
                )
        loader.flatten_mapping(node)
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        value = yaml.load(text, Loader)  # noqa: S506 - a subclass of the safe loader
        _refuse_loops(value, ())
    except (RepeatedKeyError, yaml.YAMLError):
        raise
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply, or holds itself") from None
    # The loader constructs Python values and lets their errors through.
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise yaml.YAMLError(f"a value is none of its type ({error})") from error
    return value


def read_mapping(path: Path, wanted: str) -> dict[str, Any]:
    """Read a YAML file that contains a mapping.

    Args:
        path: the file.
        wanted: what it should contain, for the error: ``comparison, with the keys data, attacks, ...``.

    Raises:
        ConfigError: the file cannot be read, is not a mapping, or repeats a key.
    """
    import yaml

    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())  # PyYAML writes four lines, with the place in the file
        raise ConfigError(f"{path} is no YAML: {reason}") from error
    except RepeatedKeyError as error:
        raise ConfigError(f"{path}: {error}; one value would hide another") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no {wanted}")
    return content


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with changes made: mappings are merged key by key, None takes a key away, anything else replaces."""

    def changed(key: str) -> Any:
        old, new = base.get(key), changes.get(key)
        return merged(old, new) if isinstance(old, dict) and isinstance(new, dict) else new

    keys = [key for key in dict.fromkeys([*base, *changes]) if key not in changes or changes[key] is not None]
    return {key: changed(key) if key in changes else base[key] for key in keys}


def with_root(value: Any, root: Path | None) -> Any:
    """`value` with the data root in every string that stands for it; keys of mappings become strings.

    Raises:
        ConfigError: a string needs a root and there is none; or two keys become one.
    """
    if isinstance(value, dict):
        named = [str(key) for key in value]
        twice = next((name for place, name in enumerate(named) if name in named[:place]), None)
        if twice is not None:  # 1 and "1"
            raise ConfigError(f"the key {twice} stands twice in one mapping; one value would hide another")
        return {str(key): with_root(entry, root) for key, entry in value.items()}
    if isinstance(value, list):
        return [with_root(entry, root) for entry in value]
    if isinstance(value, str) and DATA_PLACEHOLDER in value:
        if root is None:
            raise ConfigError(f"{value} is in the data root: say where that is with --data-root")
        return value.replace(DATA_PLACEHOLDER, str(root))
    return value


def _refuse_loops(value: object, within: tuple[int, ...]) -> None:
    """Refuse a list or mapping that contains itself, which an alias can produce.

    Raises:
        RecursionError: there is one.
    """
    if isinstance(value, list | dict):
        if id(value) in within:
            raise RecursionError
        for entry in value.values() if isinstance(value, dict) else value:
            _refuse_loops(entry, (*within, id(value)))


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise RepeatedKeyError("a key stands twice in one object")
    return value
