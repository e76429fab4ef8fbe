"""Translation by Apertium (Forcada et al. 2011), a rule-based program that needs no weights and no network.

Each text is one record of Apertium's stream. Its special characters are escaped, an added full stop marks the end of
the sentence, and its number follows as a blank that every step passes on unchanged. So the number and order of the
texts can be checked after each step, whatever the texts contain.

The steps of a translation mode are run here rather than by the program `apertium`, for two reasons. That program joins
them in a shell pipe, where a failing step goes unnoticed. And the tagger keeps state: after a combination of tags that
it was not trained on, it tags unknown words differently, in later texts too (Apertium 3.8.3; about 12% of the SST-2
rows changed with the order of the texts). So every text gets its own tagger; the other steps take all texts at once.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from poisonsieve.data.files import is_encodable
from poisonsieve.errors import UnsupportedError
from poisonsieve.progress import shown
from poisonsieve.storage import sha256_file

_DATA = "/usr/share/apertium"
_SPECIAL = re.compile(r"[\[\]{}^$/\\@<>]")
# Apertium takes these for the end of the record and the end of the input.
_UNREADABLE = str.maketrans("\0\uffff", "  ")
_END = ".[]"
_KEPT = re.compile(r"\\(.)|\[(.*?)\]", re.DOTALL)


class Apertium:
    """A translator in one direction.

    Args:
        direction: two languages as Apertium names them, such as ``eng-spa``.

    Attributes:
        identity: sha256 over the steps and the dictionaries and rules they read.

    Raises:
        UnsupportedError: the program or the direction is not installed.
    """

    def __init__(self, direction: str) -> None:
        self.direction = direction
        self._steps = _steps_of(direction)
        self.identity = _identity(self._steps)

    def translate(self, texts: Sequence[str], *, progress: str | None = None) -> list[str]:
        """Translate each text independently of the others; return the translations in order.

        Runs of white space become one space. Unknown words stay unmarked. A text without words, or one that is not
        valid Unicode (a lone surrogate), stays as it is.

        Raises:
            UnsupportedError: a step failed.
        """
        chosen = [index for index, text in enumerate(texts) if is_encodable(text) and _words(text)]
        records = [f"{_escaped(_words(texts[index]))}{_END}[{number}]" for number, index in enumerate(chosen)]
        for step in self._steps:
            records = self._run(step, records, progress) if records else []
        found = list(texts)
        for index, record in zip(chosen, records, strict=True):
            found[index] = _plain(record)
        return found

    def _run(self, step: list[str], records: list[str], progress: str | None) -> list[str]:
        if Path(step[0]).name == "apertium-tagger":
            return self._run_apart(step, records, progress)
        passed = self._call(step, records)
        for number, record in enumerate(passed):
            if not record.endswith(f"[{number}]"):
                raise self._failure(step, "the texts came out in another order")
        return passed

    def _run_apart(self, step: list[str], records: list[str], progress: str | None) -> list[str]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            passed = pool.map(lambda record: self._call(step, [record])[0], records)
            return list(shown(passed, progress, "text", total=len(records)))

    def _call(self, step: list[str], records: list[str]) -> list[str]:
        done = subprocess.run(
            step,
            input="".join(f"{record}\0" for record in records).encode(),
            capture_output=True,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            check=False,
        )
        if done.returncode:
            raise self._failure(step, f"it ended with status {done.returncode}")
        # Some steps write extra record ends after the last record.
        passed = done.stdout.decode("utf-8", "replace").split("\0")
        if len(passed) <= len(records) or any(passed[len(records) :]):
            raise self._failure(step, f"{len(records)} texts went in and a different number came out")
        return passed[: len(records)]

    def _failure(self, step: list[str], what: str) -> UnsupportedError:
        return UnsupportedError(
            f"apertium {self.direction} failed in {Path(step[0]).name}: {what}; check the installation "
            f"(echo hello | apertium {self.direction})"
        )


def _steps_of(direction: str) -> list[list[str]]:
    """Return the commands that a mode runs, with arguments that make a zero byte end a record."""
    data = Path(os.environ.get("APERTIUM_DATADIR", _DATA))
    mode = data / "modes" / f"{direction}.mode"
    reader = shutil.which("apertium-wblank-mode")
    if reader is None:
        raise UnsupportedError(
            "apertium is not installed; on Debian and Ubuntu: apt-get install apertium-eng-spa (or another pair)"
        )
    if not re.fullmatch(r"[\w-]+", direction) or not mode.is_file():
        known = ", ".join(sorted(path.stem for path in mode.parent.glob("*.mode"))) or "none"
        raise UnsupportedError(
            f"apertium has no direction {direction!r}; installed: {known}. On Debian and Ubuntu a pair is a package, "
            "such as apertium-eng-spa (apt-get install apertium-eng-spa)"
        )
    done = subprocess.run([reader, "-z", str(mode)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnsupportedError(f"{mode} cannot be read by apertium-wblank-mode (status {done.returncode})")
    return _parse(done.stdout, mode)


def _identity(steps: list[list[str]]) -> str:
    total = hashlib.sha256()
    for step in steps:
        for part in step:
            path = Path(part)
            total.update(f"{path.name}:{sha256_file(path) if path.is_file() else ''}\n".encode())
    return total.hexdigest()


def _parse(text: str, mode: Path) -> list[list[str]]:
    """A mode is a line of shell: programs joined by ``|``; $1 and $2 stand for what the caller wants marked."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    steps: list[list[str]] = [[]]
    for part in lexer:
        if part == "|":
            steps.append([])
        elif part == "$1":
            steps[-1].append("-n")  # no marks on words that the dictionary lacks
        elif part == "$2":
            continue  # ambiguity is not shown
        elif "$" in part or "`" in part or set(part) <= set("|&;<>()"):
            raise UnsupportedError(f"{mode} holds {part!r}, which is more than programs joined by a pipe")
        else:
            steps[-1].append(part)
    if not all(steps):
        raise UnsupportedError(f"{mode} has an empty step")
    return steps


def _words(text: str) -> str:
    return " ".join(text.translate(_UNREADABLE).split())


def _escaped(text: str) -> str:
    """Escape a text as `apertium-destxt` does; ``~`` becomes a blank, since the last step gives it a meaning."""
    return _SPECIAL.sub(lambda found: "\\" + found.group(), text).replace("~", "[~]")


def _plain(record: str) -> str:
    """Return the text of a translated record, without the number and the added full stop, and unescaped."""
    text = record[: record.rindex("[")].removesuffix(_END)
    return " ".join(_KEPT.sub(lambda found: found.group(1) or found.group(2) or "", text).split())
