"""What a database holds, against what the quarantine needs: told at the start, not at the first record."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Inspector, Table, inspect, text

from poisonsieve.errors import QuarantineError


def holds_any(connection: Connection, tables: Sequence[Table]) -> bool:
    """Whether there is a table or view under the name of one of these."""
    inspector = inspect(connection)
    return any(inspector.has_table(table.name) for table in tables)


def require_room(connection: Connection, shown: str) -> None:
    """Refuse to make tables in an SQLite file that has some; the database of a server is there for many programs.

    Raises:
        QuarantineError: it is the file of another program.
    """
    if connection.dialect.name != "sqlite":
        return
    theirs = text("SELECT count(*) FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
    if connection.execute(theirs).scalar_one():
        raise QuarantineError(f"{shown} is a file of another program, with tables of its own; give another --db")


def require_tables(connection: Connection, tables: Sequence[Table], shown: str) -> None:
    """Refuse tables that records could not be written to.

    Raises:
        QuarantineError: one of them is not there, is a view, or has other columns.
    """
    inspector = inspect(connection)
    for table in tables:
        wrong = _wrong_with(inspector, table)
        if wrong is not None:
            raise QuarantineError(
                f"{shown} is no quarantine, or a damaged one: {wrong}; put a copy back, or give another --db"
            )


def add_columns(connection: Connection, tables: Sequence[Table]) -> None:
    """Add the columns that a version before did not have (``info={"added": True}``): they may be null."""
    for table in tables:
        found = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.info.get("added") and column.name not in found:
                kind = column.type.compile(connection.dialect)
                connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}"))


def _wrong_with(inspector: Inspector, table: Table) -> str | None:
    if not inspector.has_table(table.name):
        return f"the table {table.name} is missing"
    if table.name in inspector.get_view_names():
        return f"{table.name} is a view, not a table"
    found = {column["name"]: column for column in inspector.get_columns(table.name)}
    for column in table.columns:
        if column.name not in found and column.info.get("added"):
            continue
        if column.name not in found or (column.nullable and not found[column.name]["nullable"]):
            return f"the table {table.name} has no such column as {column.name} has to be"
    ours = {column.name for column in table.columns}
    for name, more in found.items():
        if name not in ours and not more["nullable"] and more.get("default") is None:
            return f"the table {table.name} has a column {name} that something has to stand in"
    key = {column.name for column in table.primary_key}
    if set(inspector.get_pk_constraint(table.name)["constrained_columns"]) != key:
        return f"the table {table.name} has another primary key"
    return None
