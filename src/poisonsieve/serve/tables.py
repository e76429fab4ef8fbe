"""The quarantine's tables, and opening a database with them: SQLite or PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from poisonsieve.errors import ConfigError, QuarantineError
from poisonsieve.serve.in_place import DisplacedError, watch
from poisonsieve.serve.schema import add_columns, holds_any, require_room, require_tables

#: Increased when an older package could misread the tables; it refuses a newer database.
SCHEMA_VERSION = 1
_LOCK = 0x7053_1E7E  # any number, the same for all replicas
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")  # SQLite autoincrements INTEGER columns only


class _Bytes(LargeBinary):
    """Bytes as SQLite returns them, unchecked, so that `quarantine` can refuse damaged values record by record."""

    def result_processor(self, dialect: Any, coltype: Any) -> None:
        """See `sqlalchemy.types.TypeEngine`."""


metadata = MetaData()

#: The schema's version.
meta = Table(
    "poisonsieve_meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", String(256), nullable=False),
)

#: One row per rejected text. Times are microseconds since 1970, UTC.
records = Table(
    "poisonsieve_quarantine",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("time_us", BigInteger, nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("text_index", Integer, nullable=False),
    Column("text", Text),
    Column("text_bytes", _Bytes),  # only if `text` cannot hold it: NUL, lone surrogates
    Column("text_sha256", String(64), nullable=False),
    Column("text_chars", Integer, nullable=False),
    Column("confidence", Double),
    Column("gamma", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Column("cause", String(16), info={"added": True}),  # null in records of the previous version
    Column("guard_digest", String(64), nullable=False),
    Column("decision", String(16)),
    Column("decided_us", BigInteger),
    Column("note", Text),
    Index("ix_poisonsieve_quarantine_time", "time_us"),
    Index("ix_poisonsieve_quarantine_decision", "decision", "id"),
    Index("ix_poisonsieve_quarantine_request", "request_id"),
    sqlite_autoincrement=True,  # never reuse an id
)

#: Texts by outcome, guard and day, over all replicas. Two columns keep their old names in the database, so that
#: replicas of the previous version can write to it during a roll-out.
counts = Table(
    "poisonsieve_counts",
    metadata,
    Column("guard_digest", String(64), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("passed", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False, key="poisoned"),
    Column("unscorable", BigInteger, nullable=False, key="not_scored"),
)


def open_database(where: str, *, create: bool = True) -> Engine:
    """Return an engine for a database with the tables of this version.

    Args:
        where: a URL (``sqlite:///file``, ``postgresql://...``), or the path of an SQLite file.
        create: create the tables if there are none.

    Raises:
        ConfigError: it is not a URL of a supported kind, or has an unsupported option.
        QuarantineError: the database cannot be reached, has no tables and `create` is off, has other tables, or has a
            newer schema.
    """
    url = database_url(where)
    shown = url.set(query={}).render_as_string(hide_password=True)  # an option can be a password too
    if url.get_backend_name() == "sqlite":
        _prepare_file(url, create)
    try:
        engine = _engine(url)
    except OSError as error:
        raise QuarantineError(f"cannot open the quarantine {url.database}: {error.strerror or error}") from None
    except (SQLAlchemyError, TypeError, ValueError) as error:
        raise ConfigError(f"an option after the ? of --db {shown} cannot be used ({cause(error)})") from None
    try:
        with engine.begin() as connection:
            _check(connection, shown, create)
    except SQLAlchemyError as error:
        engine.dispose()
        # Keep only the type: a driver's message can contain the password of the URL.
        raise QuarantineError(
            f"cannot open the quarantine {shown} ({cause(error)}); check that the database is running and undamaged, "
            "and that name and password are right"
        ) from None
    except QuarantineError:
        engine.dispose()
        raise
    return engine


def _engine(url: URL) -> Engine:
    engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, **_options(url))
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _sqlite_pragmas)
        watch(engine, Path(url.database or ""))
    return engine


def database_url(where: str) -> URL:
    """Return the URL with a tested driver.

    Raises:
        ConfigError: it is not a URL of a supported kind.
    """
    try:
        url = make_url(where) if "://" in where else URL.create("sqlite", database=where)
    except (ArgumentError, ValueError):  # ValueError: the port is not a number
        raise ConfigError("--db is not a database URL; give sqlite:///FILE or postgresql://USER@HOST/NAME") from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ConfigError("--db names no file; a quarantine in memory would be lost: give sqlite:///FILE")
        if "uri" in url.query:
            raise ConfigError("--db must not set uri= after the ?; give sqlite:///FILE")
        return url.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise ConfigError(f"--db is a {backend} URL; the quarantine is kept in SQLite or PostgreSQL")


def cause(error: BaseException) -> str:
    """Return the type of a database error, but not its message, which can quote texts and passwords."""
    if isinstance(error, DisplacedError):
        return str(error)
    origin = getattr(error, "orig", None) or error
    state = getattr(origin, "sqlstate", None) or getattr(origin, "sqlite_errorname", None)
    return type(origin).__name__ + (f" {state}" if state else "")


def _options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": 5.0, "check_same_thread": False}}
    # A server that vanished or hangs must be noticed within seconds, since requests wait for it.
    network = {"connect_timeout": 3, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
    return {
        "pool_recycle": 1800,
        "pool_timeout": 5,
        "connect_args": {
            **network,
            "tcp_user_timeout": 10_000,
            "options": "-c statement_timeout=5000 -c lock_timeout=5000 -c synchronous_commit=on",
            "application_name": "poisonsieve",
        },
    }


def _prepare_file(url: URL, create: bool) -> None:
    """Create the file readable for its owner alone, since SQLite would make it readable for everybody."""
    path = Path(url.database or "")
    try:
        if not create and not path.is_file():
            raise QuarantineError(f"there is no quarantine {path}; give the --db of `poisonsieve serve`")
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise QuarantineError(f"cannot write the quarantine {path}: {error.strerror or error}") from None


def _sqlite_pragmas(connection: Any, _: Any) -> None:
    # A damaged text must not fail a whole page: `quarantine` recognises it by these surrogates.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _check(connection: Connection, shown: str, create: bool) -> None:
    """Create missing tables, one process at a time; refuse other tables, and those of a newer version."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    else:
        connection.execute(text("PRAGMA user_version"))  # fails if the file is not a database
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    if not holds_any(connection, metadata.sorted_tables):
        if not create:
            raise QuarantineError(f"{shown} contains no quarantine; give the --db of `poisonsieve serve`")
        require_room(connection, shown)
        metadata.create_all(connection)
        connection.execute(insert(meta), {"key": "schema_version", "value": str(SCHEMA_VERSION)})
        return
    require_tables(connection, [meta], shown)
    found = connection.execute(select(meta.c.value).where(meta.c.key == "schema_version")).scalar()
    if found != str(SCHEMA_VERSION):
        raise QuarantineError(
            f"the quarantine {shown} has schema version {found}, this poisonsieve reads {SCHEMA_VERSION}; update "
            "poisonsieve, or give another --db"
        )
    require_tables(connection, metadata.sorted_tables, shown)
    add_columns(connection, metadata.sorted_tables)
