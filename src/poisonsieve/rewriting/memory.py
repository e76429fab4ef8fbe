"""What an engine said of a text, kept on disk: slow answers survive a kill, and are not asked for again.

Several defences' cells read the same dev and test rows, and an engine's answer on a text depends on the engine and the
text alone. A memory is a SQLite file. The texts are not in it, only their hashes.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from poisonsieve.errors import OutputError

_SCHEMA = """CREATE TABLE IF NOT EXISTS answers
    (scope TEXT NOT NULL, text BLOB NOT NULL, answer BLOB NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (scope, text))"""


class Memory:
    """Float arrays by text, in one scope of a file.

    Args:
        file: the SQLite file; made when the first answer is kept.
        scope: all that decides an answer beside the text, such as the digest of an engine and its settings. Answers of
            another scope are never seen.
    """

    def __init__(self, file: Path, scope: str) -> None:
        self.file = file
        self.scope = scope

    def recall(self, texts: Sequence[str]) -> dict[str, tuple[np.ndarray, float]]:
        """For each text that is known, the answer (float64) and the seconds that it once took.

        Raises:
            OutputError: the file is no memory, or cannot be read.
        """
        if not self.file.exists():
            return {}
        found = {}
        with self._open() as connection:
            for text in texts:
                row = connection.execute(
                    "SELECT answer, seconds FROM answers WHERE scope = ? AND text = ?", (self.scope, _key(text))
                ).fetchone()
                if row is not None:
                    found[text] = (np.frombuffer(row[0]).copy(), float(row[1]))
        return found

    def keep(self, answers: dict[str, np.ndarray], seconds: float) -> None:
        """Keep the answers on some texts, which together took `seconds`. A kill leaves all of them or none.

        Raises:
            OutputError: the file cannot be written.
        """
        share = seconds / max(1, len(answers))
        rows = [
            (self.scope, _key(text), np.asarray(answer, dtype=np.float64).tobytes(), share)
            for text, answer in answers.items()
        ]
        with self._open() as connection, connection:
            connection.execute(_SCHEMA)
            connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self.file, timeout=60)) as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise OutputError(f"{self.file}, which keeps slow answers, cannot be used ({error}); delete it") from None


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
