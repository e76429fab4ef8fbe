"""Rejected inputs as SARIF 2.1.0 results, which code hosts and editors show next to the lines of a file.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from poisonsieve.environment import versions
from poisonsieve.records.record import Put, Record, encodable
from poisonsieve.terminal import visible_json

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_BASE = "INPUT"
#: Why an input is rejected: id, level, title, help. The ids are the outcomes in SARIF's spelling, plus `not-read`.
_RULES = (
    (
        "poisoned",
        "error",
        "The guard's confidence is above its threshold",
        "The text looks as if it carried the trigger of a poisoned model. It was rejected, and the classifier did not "
        "read it. Clean texts are rejected too, at the false-rejection rate for which the threshold was chosen.",
    ),
    (
        "not-scored",
        "warning",
        "The text could not be judged",
        "The tokenizer, the guard or the classifier gave no result for the text. A text that cannot be judged is rejected.",
    ),
    (
        "not-read",
        "warning",
        "The input could not be read",
        "The input contains no text, or none that can be read. An input that cannot be read is rejected.",
    ),
)
_PLACES = {identity: place for place, (identity, *_) in enumerate(_RULES)}


@contextlib.contextmanager
def sarif(write: Callable[[str], object], *, with_text: bool, source: str) -> Iterator[Put]:
    """Write one run with one result per rejected input; inputs that passed are left out.

    Args:
        write: takes the parts in order; the last one only if the block ends without an error.
        with_text: include the texts in the results' properties.
        source: path of the input, or ``-``.
    """
    artifact, bases = _artifact(source)
    head = {"$schema": _SCHEMA, "version": "2.1.0"}
    write(visible_json(head)[:-1] + ', "runs": [{"tool": ' + visible_json({"driver": _driver()}))
    if bases:
        write(', "originalUriBaseIds": ' + visible_json(bases))
    write(', "results": [')
    separator = "\n"

    def put(record: Record) -> None:
        nonlocal separator
        if record.verdict.rejected:
            write(separator + visible_json(_result(record, artifact, with_text=with_text)))
            separator = ",\n"

    yield put
    write('\n], "invocations": [{"executionSuccessful": true}]}]}\n')


def _driver() -> dict[str, Any]:
    rules = [
        {
            "id": identity,
            "shortDescription": {"text": title},
            "help": {"text": help_text},
            "defaultConfiguration": {"level": level},
        }
        for identity, level, title, help_text in _RULES
    ]
    return {"name": "poisonsieve", "version": versions("poisonsieve")["poisonsieve"], "rules": rules}


def _result(record: Record, artifact: dict[str, str], *, with_text: bool) -> dict[str, Any]:
    verdict = record.verdict
    rule = "not-read" if verdict.cause == "not_read" else verdict.outcome.replace("_", "-")
    message = verdict.reason or ""
    if verdict.cause == "above_gamma":
        message = f"poisoned: confidence {verdict.confidence} > gamma {verdict.gamma}"
    text = {"text": record.text} if with_text and record.text is not None else {}
    confidence = {} if verdict.confidence is None else {"confidence": verdict.confidence}
    return {
        "ruleId": rule,
        "ruleIndex": _PLACES[rule],
        "level": _RULES[_PLACES[rule]][1],
        "message": {"text": encodable(message)},
        "locations": [{"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": record.line}}}],
        "partialFingerprints": {"input/v1": _fingerprint(record)},
        "properties": {
            "index": record.index,
            "outcome": verdict.outcome,
            "cause": verdict.cause,
            **confidence,
            "gamma": verdict.gamma,
            "truncated": verdict.truncated,
            **({} if record.id is None else {"id": record.id}),
            **text,
        },
    }


def _fingerprint(record: Record) -> str:
    """Return a hash of the text, whatever its position, or of the error message where there is no text."""
    known = record.text if record.text is not None else record.error or ""
    return hashlib.sha256(known.encode("utf-8", "surrogatepass")).hexdigest()


def _artifact(source: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the input's location: relative to the current folder, as code hosts expect, or else to its own folder."""
    if source == "-":
        return {"uri": "stdin"}, {}
    path, here = Path(source).absolute(), Path.cwd()
    if path.is_relative_to(here) and ".." not in path.parts:
        return {"uri": _percent(path.relative_to(here))}, {}
    folder = path.parent.resolve()
    return {"uri": _percent(Path(path.name)), "uriBaseId": _BASE}, {_BASE: {"uri": f"file://{_percent(folder)}/"}}


def _percent(path: Path) -> str:
    return quote(os.fsencode(path.as_posix())).rstrip("/")
