"""The quarantine's tables, and opening a database that has them: SQLite or PostgreSQL."""

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

#: Rises when an older package could misread the tables. A newer database is refused, not guessed at.
SCHEMA_VERSION = 1
_LOCK = 0x7053_1E7E  # any number, the same for all replicas
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up by itself in INTEGER only


class _Bytes(LargeBinary):
    """Bytes as SQLite gives them: something else is for `quarantine` to refuse, one record at a time."""

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

#: One row for each rejected text. Times are microseconds since 1970, UTC.
records = Table(
    "poisonsieve_quarantine",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("time_us", BigInteger, nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("text_index", Integer, nullable=False),
    Column("text", Text),
    Column("text_bytes", _Bytes),  # only where `text` could not hold it: NUL, lone surrogates
    Column("text_sha256", String(64), nullable=False),
    Column("text_chars", Integer, nullable=False),
    Column("confidence", Double),
    Column("gamma", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Column("cause", String(16), info={"added": True}),  # null in records of the version before
    Column("guard_digest", String(64), nullable=False),
    Column("decision", String(16)),
    Column("decided_us", BigInteger),
    Column("note", Text),
    Index("ix_poisonsieve_quarantine_time", "time_us"),
    Index("ix_poisonsieve_quarantine_decision", "decision", "id"),
    Index("ix_poisonsieve_quarantine_request", "request_id"),
    sqlite_autoincrement=True,  # an id is never used twice
)

#: Texts by outcome, for each guard and day, over all replicas. In the database two columns keep their first names, so
#: that replicas of the version before can write to it during a roll-out.
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
    """An engine for a database whose tables are there and of this version.

    Args:
        where: a URL (``sqlite:///file``, ``postgresql://...``), or the path of an SQLite file.
        create: make the tables when there are none.

    Raises:
        ConfigError: not a URL of a kind that is supported, or with an option that is not.
        QuarantineError: it cannot be reached, it has no tables and none were to be made, it has others, or its schema is
            newer.
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
        raise ConfigError(f"an option behind the ? of --db {shown} cannot be used ({cause(error)})") from None
    try:
        with engine.begin() as connection:
            _check(connection, shown, create)
    except SQLAlchemyError as error:
        engine.dispose()
        # The type alone: a driver's message can hold the password of the URL.
        raise QuarantineError(
            f"cannot open the quarantine {shown} ({cause(error)}); is the database running, are name and password "
            "right, and is it whole?"
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
    """The URL, with the drivers that are tested.

    Raises:
        ConfigError: not a URL of a kind that is supported.
    """
    try:
        url = make_url(where) if "://" in where else URL.create("sqlite", database=where)
    except (ArgumentError, ValueError):  # the port is no number
        raise ConfigError("--db is no database URL; give sqlite:///FILE or postgresql://USER@HOST/NAME") from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ConfigError("--db names no file; a quarantine in memory would be lost: give sqlite:///FILE")
        if "uri" in url.query:
            raise ConfigError(
                "--db with uri= behind the ? is a file's address within an address; give sqlite:///FILE"
            )
        return url.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise ConfigError(f"--db is a {backend} URL; the quarantine is kept in SQLite or PostgreSQL")


def cause(error: BaseException) -> str:
    """What kind of error the database met; never its message, which can quote texts and passwords."""
    if isinstance(error, DisplacedError):
        return str(error)
    origin = getattr(error, "orig", None) or error
    state = getattr(origin, "sqlstate", None) or getattr(origin, "sqlite_errorname", None)
    return type(origin).__name__ + (f" {state}" if state else "")


def _options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": 5.0, "check_same_thread": False}}
    # A server that vanished or hangs has to be noticed in seconds, for requests wait on it.
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
    """Make the file readable for its owner alone, before SQLite makes it readable for all."""
    path = Path(url.database or "")
    try:
        if not create and not path.is_file():
            raise QuarantineError(f"there is no quarantine {path}; give the --db of `poisonsieve serve`")
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise QuarantineError(f"cannot write the quarantine {path}: {error.strerror or error}") from None


def _sqlite_pragmas(connection: Any, _: Any) -> None:
    # A damaged text must not fail a whole page: `quarantine` knows it by these surrogates.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _check(connection: Connection, shown: str, create: bool) -> None:
    """Make the tables if they are not there, one process at a time; refuse others, and those of a newer version."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    else:
        connection.execute(text("PRAGMA user_version"))  # a file that is no database fails here
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    if not holds_any(connection, metadata.sorted_tables):
        if not create:
            raise QuarantineError(f"{shown} holds no quarantine; give the --db of `poisonsieve serve`")
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
