"""Check at the start whether a database has the tables that the quarantine needs."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Inspector, Table, inspect, text

from poisonsieve.errors import QuarantineError


def holds_any(connection: Connection, tables: Sequence[Table]) -> bool:
    """Tell whether there is a table or view with the name of one of these."""
    inspector = inspect(connection)
    return any(inspector.has_table(table.name) for table in tables)


def require_room(connection: Connection, shown: str) -> None:
    """Refuse to create tables in an SQLite file that has others; a server's database may be shared by programs.

    Raises:
        QuarantineError: the file belongs to another program.
    """
    if connection.dialect.name != "sqlite":
        return
    theirs = text("SELECT count(*) FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
    if connection.execute(theirs).scalar_one():
        raise QuarantineError(f"{shown} belongs to another program, with tables of its own; give another --db")


def require_tables(connection: Connection, tables: Sequence[Table], shown: str) -> None:
    """Refuse tables that records could not be written to.

    Raises:
        QuarantineError: one of them is missing, is a view, or has other columns.
    """
    inspector = inspect(connection)
    for table in tables:
        wrong = _wrong_with(inspector, table)
        if wrong is not None:
            raise QuarantineError(
                f"{shown} is not a quarantine, or is damaged: {wrong}; restore a copy, or give another --db"
            )


def add_columns(connection: Connection, tables: Sequence[Table]) -> None:
    """Add the columns that the previous version did not have (``info={"added": True}``); they may be null."""
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
            return f"the table {table.name} lacks the column {column.name}, or has it with NOT NULL"
    ours = {column.name for column in table.columns}
    for name, more in found.items():
        if name not in ours and not more["nullable"] and more.get("default") is None:
            return f"the table {table.name} has another column, {name}, that requires a value"
    key = {column.name for column in table.primary_key}
    if set(inspector.get_pk_constraint(table.name)["constrained_columns"]) != key:
        return f"the table {table.name} has another primary key"
    return None
