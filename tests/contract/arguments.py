"""Constructor arguments for the plug-ins whose own defaults need a file, weights or a download.

The contract suites build every plug-in with its defaults. One that cannot be built so in a test without a network is
listed here: name -> a function that gets pytest's `tmp_path_factory` and gives the keyword arguments.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import sentences
from poisonsieve import registry
from seq2seq_models import make_seq2seq
from tiny_lm import make_lm
from tiny_parser import tiny_parser

#: What rewriters are asked to rewrite; a rewriter by file has these texts in its file.
TEXTS_TO_REWRITE = [
    "the film was good",
    "good",
    "",
    "   ",
    "  spaced   out  text ",
    "a\ttab and\nnew line",
    "ünïcödé 💥 text here",
    "[x] ^y$ /z\\ @w *v <u> {t} #s",
    "a\x00b",
    "a really good film but a dull story .",
]


def _rewrites(tmp_path_factory: Any) -> dict[str, Any]:
    """A file that has each of the texts above, and the toy test rows, with its words turned around."""
    texts = [*TEXTS_TO_REWRITE, *(text for text, _ in sentences(60, seed=3))]
    rows = [{"original": text, "text": "so " + " ".join(reversed(text.split()))} for text in dict.fromkeys(texts)]
    path = tmp_path_factory.mktemp("rewrites") / "rewrites.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"file": str(path)}


_MADE: dict[int, Path] = {}


def _seq2seq(tmp_path_factory: Any, seed: int) -> Path:
    if seed not in _MADE:
        _MADE[seed] = make_seq2seq(tmp_path_factory.mktemp("seq2seq") / "model", seed=seed)
    return _MADE[seed]


def _paraphraser(tmp_path_factory: Any) -> dict[str, Any]:
    return {"model": str(_seq2seq(tmp_path_factory, 0)), "beams": 1, "max_new_tokens": 6}


def _translators(tmp_path_factory: Any) -> dict[str, Any]:
    there, back = (str(_seq2seq(tmp_path_factory, seed)) for seed in (0, 1))
    return {"forward": there, "backward": back, "beams": 2, "max_new_tokens": 6}


ATTACKS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "synattack-rules": lambda _: {"parser": tiny_parser()},
    "synattack-file": _rewrites,
    "synattack-seq2seq": _paraphraser,
}
DEFENSES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "onion": lambda factory: {"lm": str(make_lm(factory.mktemp("lm"))), "bar": 0.5},
    "scpd-rules": lambda _: {"parser": tiny_parser()},
    "scpd-file": _rewrites,
    "scpd-seq2seq": _paraphraser,
    "back-translation": _translators,
    "back-translation-file": _rewrites,
}

#: Triggers that make one text of a text, whatever the random generator says; each says so in its docstring.
WITHOUT_CHANCE: set[str] = {"stylebkd-rules", "synattack-file", "synattack-seq2seq"}


def make(kind: registry.Kind, name: str, tmp_path_factory: Any) -> Any:
    """The registered plug-in, built with its defaults or with the arguments listed here."""
    listed = {"attack": ATTACKS, "defense": DEFENSES}[kind].get(name)
    return registry.get(kind, name)(**(listed(tmp_path_factory) if listed else {}))
