"""Identify settings by content: find those that name files or models, and replace the names by digests.

A result depends on a file's content, not on its path. Types mark the settings that are paths (`ByContent`), in specs
as in the constructors of plug-ins.
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
    """Return a plug-in's `ByContent` arguments with their defaults; None for no default.

    Raises:
        ConfigError: there is no such name.
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
    """Tell whether a type is marked `ByContent`, itself or in a part of it."""
    return declared is ByContent or any(is_by_content(part) for part in typing.get_args(declared))


def content_of(spec: Spec, digest: Digest, read: Mapping[str, Mapping[str, str | None]]) -> dict[str, Any]:
    """Return a spec as JSON-ready values, with a digest in place of every name marked `ByContent`.

    Args:
        spec: any spec.
        digest: returns the digest of the content that a name refers to, or the name itself if it refers to none.
        read: `ByContent` arguments of plug-ins, by ``kind name``; see `read_by_content`.
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
    """Return name and arguments of a plug-in's text form, with the content of files, given or by default."""
    name, _, rest = text.partition(":")
    given = {key.strip(): value for key, _, value in (part.partition("=") for part in rest.split(",") if part)}
    values = {**{key: default for key, default in read.items() if default is not None}, **given}
    arguments = {key: digest(value) if key in read else value for key, value in values.items()}
    return {"plug_in": name, "arguments": arguments}


def _marks(field: Any) -> list[Any]:
    """Return the marks of a field's annotation, at any depth."""

    def within(declared: Any) -> list[Any]:
        return [mark for part in typing.get_args(declared) for mark in (part, *within(part))]

    return [*field.metadata, *within(field.annotation)]
