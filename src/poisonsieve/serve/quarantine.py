"""The quarantine: rejected texts, and reviewers' decisions on them."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from poisonsieve.errors import QuarantineError
from poisonsieve.serve.in_place import DisplacedError, require_in_place
from poisonsieve.serve.tables import counts, records
from poisonsieve.verdict import CAUSES, OUTCOMES, Cause, Outcome, Verdict, cause_by_numbers, outcome_of

log = logging.getLogger("poisonsieve.serve")

Decision = Literal["poison", "false_alarm"]
Which = Literal["open", "poison", "false_alarm", "all"]
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Page:
    """A page of the records that match a query.

    Attributes:
        items: the records of this page, newest first.
        total: number of records on all pages.
        damaged: ids of records that belong on this page but are damaged in the database.
    """

    items: list[dict[str, Any]]
    total: int
    damaged: list[int]


def record_of(
    text: str, verdict: Verdict, *, request_id: str, index: int, guard_digest: str, hash_only: bool, max_chars: int
) -> dict[str, Any]:
    """Return the row of a rejected text.

    Args:
        text: the text, with any content.
        verdict: the verdict that rejected it.
        request_id: id of its request.
        index: its position among the request's texts.
        guard_digest: see `poisonsieve.serve.facts.GuardFacts`.
        hash_only: keep no text.
        max_chars: number of characters of the text to keep.
    """
    kept = None if hash_only else text[:max_chars]
    plain = None if kept is None else storable(kept)
    return {
        "time_us": time.time_ns() // 1000,
        "request_id": request_id,
        "text_index": index,
        "text": plain,
        "text_bytes": None if kept is None or kept == plain else kept.encode("utf-8", "surrogatepass"),
        "text_sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        "text_chars": len(text),
        "confidence": verdict.confidence,
        "gamma": verdict.gamma,
        "reason": verdict.reason or "",
        "cause": verdict.cause,
        "guard_digest": guard_digest,
    }


def storable(text: str) -> str:
    """Replace characters that a database cannot store, NUL and lone surrogates, with replacement characters."""
    replaced = text.replace("\0", _REPLACEMENT)
    return replaced.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Quarantine:
    """Records in a database. Every method is one transaction, and raises SQLAlchemy's errors.

    A damaged record raises `QuarantineError`; so does an SQLite file that was deleted, moved or replaced.

    Args:
        engine: from `poisonsieve.serve.tables.open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def add(self, rows: Sequence[Mapping[str, Any]], screened: Mapping[str, Mapping[Outcome, int]]) -> None:
        """Commit records together with the counts of the texts screened up to them.

        Args:
            rows: from `record_of`.
            screened: texts by outcome, by guard digest, to add to today's counts.
        """
        day = datetime.now(UTC).date().isoformat()
        with self.engine.begin() as connection:
            if rows:
                connection.execute(insert(records), list(rows))
            for digest, numbers in screened.items():
                _add_counts(connection, digest, day, numbers)
        require_in_place(self.engine)  # otherwise the committed records would be lost

    @property
    def in_place(self) -> bool:
        """Whether the database is still where it was opened; always true if it is not a file."""
        try:
            require_in_place(self.engine)
        except DisplacedError:
            return False
        return True

    def find(
        self,
        *,
        which: Which = "open",
        contains: str = "",
        among: Collection[int] | None = None,
        cause: Cause | None = None,
        page: int = 1,
        size: int = 50,
    ) -> Page:
        """Return a page of records, newest first.

        Args:
            which: decision of the records.
            contains: only records whose text contains this, ignoring case (in SQLite, of ASCII letters only).
            among: only records with one of these ids.
            cause: only records that this stopped, as far as they name it.
            page: number of the page, from 1.
            size: records per page.
        """
        conditions = _conditions(which, contains)
        if among is not None:
            conditions.append(records.c.id.in_(among))
        if cause is not None:
            conditions.append(records.c.cause == cause)
        wanted = select(records).where(*conditions).order_by(records.c.id.desc())
        with self.engine.connect() as connection:
            total = connection.execute(select(func.count()).select_from(records).where(*conditions)).scalar_one()
            rows = connection.execute(wanted.limit(size).offset((page - 1) * size)).all()
        items, damaged = [], []
        for row in rows:
            try:
                items.append(_item(row))
            except QuarantineError:
                damaged.append(int(row.id))
        if damaged:
            log.error("records of the quarantine are damaged: %s", damaged)
        return Page(items, total, damaged)

    def get(self, number: int) -> dict[str, Any] | None:
        """Return one record, or None if there is none."""
        with self.engine.connect() as connection:
            return _one(connection, number)

    def decide(self, number: int, decision: Decision | None, note: str | None) -> dict[str, Any] | None:
        """Store a reviewer's decision; None takes a decision back. Return the record, or None if there is none."""
        decided = None if decision is None else time.time_ns() // 1000
        change = update(records).where(records.c.id == number)
        with self.engine.begin() as connection:
            connection.execute(change.values(decision=decision, decided_us=decided, note=note))
            found = _one(connection, number)
        require_in_place(self.engine)
        return found

    def decide_all(self, ids: Collection[int], decision: Decision | None, *, was: Decision | None) -> list[int]:
        """Store one decision on several records, keeping their notes; None takes a decision back.

        Args:
            ids: ids of the records.
            decision: decision to store.
            was: change only records with this decision, so that no other reviewer's decision is overwritten.

        Returns:
            The ids of the records that were changed.
        """
        decided = None if decision is None else time.time_ns() // 1000
        of_these = records.c.id.in_(ids)
        as_before = records.c.decision.is_(None) if was is None else records.c.decision == was
        change = update(records).where(of_these, as_before).values(decision=decision, decided_us=decided)
        with self.engine.begin() as connection:
            changed = connection.execute(change.returning(records.c.id)).scalars().all()
        require_in_place(self.engine)
        return sorted(changed)

    def texts(self, which: Which, most: int) -> list[tuple[int, str]]:
        """Return id and text of the newest records above gamma whose text was kept and is undamaged."""
        conditions = [*_conditions(which, ""), *_above_gamma(), records.c.text.is_not(None)]
        wanted = select(records.c.id, records.c.text).where(*conditions).order_by(records.c.id.desc()).limit(most)
        with self.engine.connect() as connection:
            rows = connection.execute(wanted).all()
        return [(row.id, row.text) for row in rows if isinstance(row.text, str) and storable(row.text) == row.text]

    def flagged(self, most: int) -> list[int]:
        """Return ids of the newest open records of texts that had passed, and that the watch flagged later."""
        conditions = [*_conditions("open", ""), records.c.cause == "traffic"]
        wanted = select(records.c.id).where(*conditions).order_by(records.c.id.desc()).limit(most)
        with self.engine.connect() as connection:
            return [int(number) for number in connection.execute(wanted).scalars()]

    def of_texts(self, hashes: Collection[str]) -> dict[str, tuple[int, str | None]]:
        """Return id and text of the newest record of each of these texts that has one, by sha256; None if not kept."""
        wanted = select(records).where(records.c.text_sha256.in_(hashes)).order_by(records.c.id)
        found = {}
        with self.engine.connect() as connection:
            for row in connection.execute(wanted):
                with contextlib.suppress(QuarantineError):  # a damaged record is named where records are listed
                    item = _item(row)
                    found[item["text_sha256"]] = (item["id"], item["text"])
        return found

    def retain(self, *, max_records: int | None, max_days: float | None) -> int:
        """Delete records that are too old, and the oldest beyond the maximum number; return how many were deleted."""
        deleted = 0
        with self.engine.begin() as connection:
            if max_days is not None:
                oldest = time.time_ns() // 1000 - int(max_days * 86_400 * 1_000_000)
                deleted += connection.execute(delete(records).where(records.c.time_us < oldest)).rowcount
            if max_records is not None:
                newest_to_go = select(records.c.id).order_by(records.c.id.desc()).offset(max_records).limit(1)
                last = connection.execute(newest_to_go).scalar()
                if last is not None:
                    deleted += connection.execute(delete(records).where(records.c.id <= last)).rowcount
        return deleted

    def passed(self, guard_digest: str) -> int:
        """Return the number of texts that this guard has passed, in all replicas, as far as written."""
        wanted = select(func.coalesce(func.sum(counts.c.passed), 0)).where(counts.c.guard_digest == guard_digest)
        with self.engine.connect() as connection:
            return int(connection.execute(wanted).scalar_one())

    def decided(self, guard_digest: str) -> list[tuple[str, float, str]]:
        """Return text sha256, confidence and decision of this guard's decided records above gamma."""
        wanted = _of_guard(select(records.c.text_sha256, records.c.confidence, records.c.decision), guard_digest)
        with self.engine.connect() as connection:
            rows = connection.execute(wanted.where(records.c.decision.is_not(None))).all()
        _require_intact(rows)
        return [(row.text_sha256, float(row.confidence), row.decision) for row in rows]

    def open_count(self, guard_digest: str) -> int:
        """Return the number of this guard's undecided records above gamma."""
        wanted = _of_guard(select(func.count()).select_from(records), guard_digest)
        with self.engine.connect() as connection:
            return int(connection.execute(wanted.where(records.c.decision.is_(None))).scalar_one())


def _of_guard(query: Select[Any], guard_digest: str) -> Select[Any]:
    return query.where(records.c.guard_digest == guard_digest, *_above_gamma())


def _above_gamma() -> tuple[ColumnElement[bool], ...]:
    return records.c.confidence.is_not(None), records.c.confidence > records.c.gamma


def _conditions(which: Which, contains: str) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if which != "all":
        conditions.append(records.c.decision.is_(None) if which == "open" else records.c.decision == which)
    if contains:
        conditions.append(records.c.text.icontains(storable(contains), autoescape=True))
    return conditions


def _add_counts(connection: Connection, digest: str, day: str, numbers: Mapping[Outcome, int]) -> None:
    made = postgresql.insert(counts) if connection.dialect.name == "postgresql" else sqlite.insert(counts)
    row = {outcome: numbers.get(outcome, 0) for outcome in OUTCOMES}
    sums = {counts.c[outcome]: counts.c[outcome] + number for outcome, number in row.items()}
    inserted = made.values(guard_digest=digest, day=day, **row)
    connection.execute(inserted.on_conflict_do_update(index_elements=["guard_digest", "day"], set_=sums))


def _one(connection: Connection, number: int) -> dict[str, Any] | None:
    row = connection.execute(select(records).where(records.c.id == number)).one_or_none()
    return None if row is None else _item(row)


def _require_intact(rows: Sequence[Row[Any]]) -> None:
    """Refuse a value that its column cannot have: SQLite returns what it finds, whatever type was declared."""
    for row in rows:
        for name, value in row._mapping.items():
            column = records.c[name]
            whole = column.nullable if value is None else isinstance(value, column.type.python_type)
            if isinstance(value, float):
                whole = whole and math.isfinite(value)
            if isinstance(value, str):
                whole = whole and storable(value) == value.replace("\0", _REPLACEMENT)  # no byte that is not UTF-8
            if not whole:
                raise QuarantineError(f"a record of the quarantine is damaged: its {name} is invalid")


def _item(row: Row[Any]) -> dict[str, Any]:
    _require_intact([row])
    try:
        return _shown(row)
    except (UnicodeDecodeError, OverflowError, ValueError):
        raise QuarantineError(f"record {row.id} of the quarantine is damaged") from None


def _shown(row: Row[Any]) -> dict[str, Any]:
    cause = row.cause if row.cause in CAUSES else cause_by_numbers(row.confidence, row.gamma)  # of another version
    exact = row.text if row.text_bytes is None else bytes(row.text_bytes).decode("utf-8", "surrogatepass")
    return {
        "id": row.id,
        "time": _iso(row.time_us),
        "text": exact,
        "text_sha256": row.text_sha256,
        "text_chars": row.text_chars,
        "confidence": row.confidence,
        "gamma": row.gamma,
        "reason": row.reason,
        "outcome": outcome_of(cause),
        "cause": cause,
        "guard_digest": row.guard_digest,
        "request_id": row.request_id,
        "text_index": row.text_index,
        "decision": row.decision,
        "decided_at": None if row.decided_us is None else _iso(row.decided_us),
        "note": row.note,
    }


def _iso(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest).isoformat(timespec="microseconds")
