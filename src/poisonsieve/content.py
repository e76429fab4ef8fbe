"""Settings by their content: which of them name a file or a model, and a spec with digests in their place.

A path decides nothing of a result; what is there does. Which settings are paths is said by their types (`ByContent`), in
specs as in the constructors of plug-ins.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from poisonsieve import registry
from poisonsieve.building import declared_types
from poisonsieve.config import ByContent, PlugInText, Spec, name_of

Digest = Callable[[str], str]


def read_by_content(kind: registry.Kind, name: str) -> dict[str, str | None]:
    """The arguments of a plug-in that are `ByContent`, and what each is when it is not given; None for nothing.

    Raises:
        ConfigError: no such name.
    """
    found = registry.get(kind, name)
    declared = declared_types(found)
    defaults = {key: parameter.default for key, parameter in inspect.signature(found).parameters.items()}
    return {
        key: None if default in (inspect.Parameter.empty, None) else str(default)
        for key, default in defaults.items()
        if is_by_content(declared.get(key))
    }


def is_by_content(declared: Any) -> bool:
    """Whether a type is marked `ByContent`, itself or as one of several."""
    return declared is ByContent or any(is_by_content(part) for part in typing.get_args(declared))


def content_of(spec: Spec, digest: Digest, read: Mapping[str, Mapping[str, str | None]]) -> dict[str, Any]:
    """A spec with the digest of what is there in place of every name that is marked `ByContent`; JSON-ready.

    Args:
        spec: any.
        digest: of what is behind a name; the name itself where nothing is.
        read: the arguments of plug-ins that are marked so, by ``kind name``; see `read_by_content`.
    """

    def known(value: Any, marks: list[Any]) -> Any:
        if isinstance(value, Spec):
            fields = type(value).model_fields
            return {key: known(getattr(value, key), _marks(field)) for key, field in fields.items()}
        if isinstance(value, dict):
            return {key: known(entry, marks) for key, entry in value.items()}
        if not isinstance(value, str):
            return value
        plug_ins = [mark.kind for mark in marks if isinstance(mark, PlugInText)]
        if plug_ins:
            return _text(value, digest, read[f"{plug_ins[0]} {name_of(value)}"])
        return digest(value) if ByContent in marks else value

    found: dict[str, Any] = known(spec, [])
    return found


def _text(text: str, digest: Digest, read: Mapping[str, str | None]) -> dict[str, Any]:
    """A plug-in in its text form: its name, the arguments that are given, and the content of those that are not."""
    name, _, rest = text.partition(":")
    given = {key.strip(): value for key, _, value in (part.partition("=") for part in rest.split(",") if part)}
    values = {**{key: default for key, default in read.items() if default is not None}, **given}
    arguments = {key: digest(value) if key in read else value for key, value in values.items()}
    return {"plug_in": name, "arguments": arguments}


def _marks(field: Any) -> list[Any]:
    """What a field's annotation is marked with, wherever in it."""

    def within(declared: Any) -> list[Any]:
        return [mark for part in typing.get_args(declared) for mark in (part, *within(part))]

    return [*field.metadata, *within(field.annotation)]
