"""A database that is not the quarantine, or not all of it: refused at the start, and left as it is."""

import sqlite3

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poisonsieve.errors import QuarantineError
from poisonsieve.serve.quarantine import Quarantine
from poisonsieve.serve.tables import counts, meta, metadata, open_database, records

pytest_plugins = ["serving"]

TABLES = [table.name for table in (meta, records, counts)]
COLUMNS = [  # but for those that a version before did not have: they are added
    (table.name, column.name)
    for table in metadata.sorted_tables
    for column in table.columns
    if not column.info.get("added")
]


def change(database, *statements):
    """Run SQL in a database, whatever is in it."""
    engine = sqlalchemy.create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def made(database):
    open_database(database).dispose()
    return database


def everything(path):
    with sqlite3.connect(path) as plain:
        found = plain.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
    plain.close()
    return found


def refused(database, *says):
    for create in (True, False):
        with pytest.raises(QuarantineError) as error:
            open_database(database, create=create)
        assert str(error.value).isprintable()
        for part in says if create else ():
            assert part in str(error.value)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_not_there_is_named(table, database):
    change(made(database), f"DROP TABLE {table}")
    refused(database, table, "give another --db")


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_another_program_under_that_name_is_named(table, database):
    change(database, f"CREATE TABLE {table} (mine TEXT)")
    refused(database, meta.name)
    change(made_without(database, table), f"CREATE TABLE {table} (mine TEXT NOT NULL)")
    refused(database, table)


def made_without(database, table):
    change(database, f"DROP TABLE {table}")
    change(made(database), f"DROP TABLE {table}")
    return database


@pytest.mark.parametrize("table", TABLES)
def test_a_view_is_no_table(table, database):
    change(made(database), f"ALTER TABLE {table} RENAME TO mine", f"CREATE VIEW {table} AS SELECT * FROM mine")
    refused(database, table, "view")


def test_a_view_alone_is_no_quarantine(database):
    change(database, f"CREATE VIEW {meta.name} AS SELECT 'schema_version' AS key, '1' AS value")
    refused(database, meta.name, "view")


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_column_that_is_not_there_is_named(table, column, database):
    change(made(database), f"ALTER TABLE {table} RENAME COLUMN {column} TO mine")
    refused(database, table)


def test_a_column_more_is_left_alone_if_nothing_has_to_stand_in_it(database):
    change(made(database), f"ALTER TABLE {records.name} ADD COLUMN reviewer TEXT")
    open_database(database).dispose()
    change(database, f"ALTER TABLE {records.name} DROP COLUMN reviewer")
    change(database, f"ALTER TABLE {records.name} ADD COLUMN queue TEXT NOT NULL DEFAULT 'main'")
    open_database(database).dispose()


def test_a_key_that_is_not_there_is_said(tmp_path):
    database = made(f"sqlite:///{tmp_path}/q.sqlite")
    columns = ", ".join(column.name for column in counts.columns)
    change(database, f"DROP TABLE {counts.name}", f"CREATE TABLE {counts.name} ({columns})")
    refused(database, counts.name, "key")


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE users (id INT)", "CREATE VIEW v AS SELECT 1", "CREATE TABLE sqlitemine (a)"],
)
def test_a_file_of_another_program_is_not_filled(statement, tmp_path):
    path = tmp_path / "theirs.sqlite"
    change(f"sqlite:///{path}", statement)
    before = everything(path)
    refused(str(path), "theirs.sqlite", "another program")
    assert everything(path) == before


def test_a_database_of_a_server_is_shared_with_other_programs(postgres):
    database = postgres.database()
    change(database, "CREATE TABLE users (id INT)")
    open_database(database).dispose()


def test_a_file_without_any_table_is_filled(tmp_path):
    path = tmp_path / "q.sqlite"
    change(f"sqlite:///{path}", "CREATE TABLE once (a)", "DROP TABLE once")
    open_database(str(path)).dispose()
    assert {name for _, name, _ in everything(path)} >= set(TABLES)


VALUES = st.none() | st.text(max_size=5) | st.binary(max_size=5) | st.integers(-(2**63), 2**63 - 1) | st.floats()
DAMAGE = VALUES | st.sampled_from([b"\xff", "9" * 30, float("inf")])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    column=st.sampled_from([column.name for column in records.columns if column.name != "id"]),
    value=DAMAGE,
    as_text=st.booleans(),
)
def test_a_damaged_record_hides_no_other(column, value, as_text, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "q.sqlite"
    engine = open_database(str(path))
    store = Quarantine(engine)
    names = [each.name for each in records.columns if not each.nullable and each.name != "id"]
    row = {name: 0 if records.c[name].type.python_type in (int, float) else "x" for name in names}
    store.add([row] * 3, {})
    with sqlite3.connect(path) as plain:
        try:
            cast = "CAST(? AS TEXT)" if as_text and isinstance(value, bytes) else "?"
            plain.execute(f"UPDATE {records.name} SET {column} = {cast} WHERE id = 2", (value,))
        except (sqlite3.IntegrityError, UnicodeEncodeError):
            return
    plain.close()
    found = store.find(which="all")
    assert found.total == 3
    assert sorted([item["id"] for item in found.items] + found.damaged) == [1, 2, 3]
    assert {1, 3} <= {item["id"] for item in found.items}
    if found.damaged:
        with pytest.raises(QuarantineError):
            store.get(2)
    else:
        assert store.get(2) in found.items
    engine.dispose()
