"""Write all rows of a database to one file, and read such a file into an empty database.

The file does not depend on the kind of database. It has one JSON value per line:

- the header: the version of the format, the revision of the tables, the time of the export;
- each table, in the order of the references: its name and columns, then an array per row, in the
  order of the primary key. Times are in ISO 8601, in UTC; floats are the shortest exact decimals;
- the trailer: the number of rows of each table. A file without it is incomplete.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO

import orjson
from alembic.migration import MigrationContext
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Dialect,
    Double,
    Engine,
    Integer,
    Select,
    String,
    Table,
    delete,
    func,
    insert,
    or_,
    select,
)

from ..extensions import Base
from ..models import MAIN, Board, BoardVersion, Season, UtcDateTime

VERSION = 1
# Rows that are read from the database, or written to the file, at a time.
BATCH_SIZE = 1_000
# KiB. With SQLite's default of 2 MB, an import of a million users writes more than ten times as
# much, because the pages of its indexes leave the cache between two rows.
SQLITE_CACHE_SIZE = 128 * 1024
# A long history takes longer than the timeouts of requests.
_UNLIMITED = (
    "; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0"
    "; SET LOCAL idle_in_transaction_session_timeout = 0"
    "; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'"
)
_BEGIN_READ = {
    "sqlite": "BEGIN",
    "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" + _UNLIMITED,
}
_BEGIN_WRITE = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "BEGIN" + _UNLIMITED}
# The migrations write the rows of `main` into these. In the order of their references.
_MIGRATED = (Board, Season, BoardVersion)
# The types of the JSON values of a column, besides that of null.
_JSON_TYPES: dict[type, set[type]] = {
    String: {str},
    Integer: {int},
    Double: {float, int},
    Boolean: {bool},
    UtcDateTime: {str},
    JSON: {dict, list},
}


class InvalidArchive(Exception):
    """The file is damaged, incomplete or of another version. The message is one sentence."""


class NotEmpty(Exception):
    """The database has users, scores or boards, so nothing can be imported into it."""


def write(engine: Engine, file: BinaryIO) -> dict[str, int]:
    """Write all rows to the file; return the number of rows of each table.

    All rows are of one moment, while servers go on writing. Blocks, with little memory. The tables
    must be those of this version of the code. Raises what the database and the file raise.
    """
    with engine.connect() as connection:
        connection.execution_options(begin=_BEGIN_READ[connection.dialect.name])
        with connection.begin():
            file.write(_line(_header(connection, datetime.now(UTC))))
            counts = {}
            for table in Base.metadata.sorted_tables:
                file.write(_line(_heading(table)))
                counts[str(table.name)] = _write_rows(connection, table, file)
            file.write(_line({"rows": counts}))
            return counts


def read(engine: Engine, lines: Iterable[bytes]) -> dict[str, int]:
    """Insert the rows of a file into an empty database; return the number of rows of each table.

    Either all rows are inserted or none. Blocks, with little memory. No server may use the
    database. Raises InvalidArchive, NotEmpty, and what the database's driver and SQLAlchemy raise.
    """
    reader = _Reader(lines)
    with engine.connect() as connection:
        connection.execution_options(begin=_BEGIN_WRITE[connection.dialect.name])
        with connection.begin():
            reader.check_header(_header(connection, None))
            _require_empty(connection)
            for model in reversed(_MIGRATED):
                connection.execute(delete(model))
            if connection.dialect.name == "sqlite":
                # A derived board may precede its source. Postgres checks whole statements.
                connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
                connection.exec_driver_sql(f"PRAGMA cache_size = -{SQLITE_CACHE_SIZE}")
            counts = {}
            for table in Base.metadata.sorted_tables:
                reader.expect(_heading(table))
                counts[str(table.name)] = _insert(connection, table, reader)
            reader.expect({"rows": counts})
            reader.expect_end()
            if connection.dialect.name == "postgresql":
                _complete_postgres(connection, counts)
            return counts


def _header(connection: Connection, created_at: datetime | None) -> dict[str, Any]:
    schema = MigrationContext.configure(connection).get_current_revision()
    return {"scoreboard_export": VERSION, "schema": schema, "created_at": created_at}


def _heading(table: Table) -> dict[str, Any]:
    # These may be of a subclass of str, which orjson does not accept.
    return {"table": str(table.name), "columns": [str(column.name) for column in table.columns]}


def _line(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)


def _write_rows(connection: Connection, table: Table, file: BinaryIO) -> int:
    count = 0
    options = {"yield_per": BATCH_SIZE}  # on Postgres, a cursor of the server
    result = connection.execute(_by_key(table, connection.dialect), execution_options=options)
    for rows in result.partitions():
        file.write(b"".join(_line(tuple(row)) for row in rows))
        count += len(rows)
    return count


def _by_key(table: Table, dialect: Dialect) -> Select[Any]:
    """Return the query of all rows in the order of the key, equal on both kinds of database."""
    if dialect.name == "sqlite":
        return select(table).order_by(*table.primary_key)
    # SQLite has no negative zero, and compares text by its code points.
    values = (c + 0.0 if isinstance(c.type, Double) else c for c in table.columns)
    key = (c.collate("C") if isinstance(c.type, String) else c for c in table.primary_key)
    return select(*values).order_by(*key)


def _require_empty(connection: Connection) -> None:
    """Raise NotEmpty unless the database has only the rows that the migrations have written."""
    migrated = {model.__table__ for model in _MIGRATED}
    statements = [select(t).limit(1) for t in Base.metadata.sorted_tables if t not in migrated]
    is_changed = or_(BoardVersion.board_id != MAIN, BoardVersion.version != 0)
    statements.append(select(BoardVersion.__table__).where(is_changed).limit(1))
    if any(connection.execute(statement).first() for statement in statements):
        raise NotEmpty(
            "The database is not empty: import into a new one, before a server starts on it."
        )


def _insert(connection: Connection, table: Table, reader: "_Reader") -> int:
    """Insert the rows that the reader is at; return their number."""
    dialect = connection.dialect
    cursor: Any = connection.connection.cursor()
    rows = reader.rows(table, dialect)
    if dialect.name == "sqlite":
        cursor.executemany(str(insert(table).compile(dialect=dialect)), rows)
    else:
        names = dialect.identifier_preparer
        columns = ", ".join(names.format_column(column) for column in table.columns)
        with cursor.copy(f"COPY {names.format_table(table)} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    cursor.close()
    return reader.count


def _complete_postgres(connection: Connection, counts: dict[str, int]) -> None:
    """Let generated ids follow those imported, and give the planner its statistics."""
    for table in Base.metadata.sorted_tables:
        # Analyzed while it is empty, a growing table would be scanned as a whole.
        if not counts[table.name]:
            continue
        if (column := table.autoincrement_column) is not None:
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            connection.execute(select(func.setval(sequence, func.max(column))))
        name = connection.dialect.identifier_preparer.format_table(table)
        connection.exec_driver_sql(f"ANALYZE {name}")


class _Reader:
    """Reads a file line by line. `count` is the number of rows of the table read last.

    Its methods raise InvalidArchive if the file has anything else than they expect.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.count = 0
        self._lines = iter(lines)
        self._number = 0
        self._next: Any = None  # the object that ended the rows of a table

    def check_header(self, expected: dict[str, Any]) -> None:
        """Read the header, which must have the same version and schema as the expected one."""
        found = self._value()
        if not isinstance(found, dict) or "scoreboard_export" not in found:
            raise InvalidArchive("This is not an export of a scoreboard.")
        for name in ("scoreboard_export", "schema"):
            if found.get(name) != expected[name]:
                raise InvalidArchive(
                    f"The file has {name} {found.get(name)}, and this version of the scoreboard"
                    f" reads {expected[name]}: import it with the version that exported it."
                )

    def expect(self, expected: dict[str, Any]) -> None:
        """Read an object, which must be the expected one."""
        found = self._next or self._value()
        if found != expected:
            raise self._invalid(f"expected {orjson.dumps(expected).decode()}")
        self._next = None

    def expect_end(self) -> None:
        """Read the end of the file."""
        if self._line() is not None:
            raise self._invalid("expected the end of the file")

    def rows(self, table: Table, dialect: Dialect) -> Iterator[list[Any]]:
        """Yield the rows of a table with the values that the database's driver takes."""
        columns = list(table.columns)
        converters = [(n, c) for n, each in enumerate(columns) if (c := _converter(each, dialect))]
        valid: set[tuple[type, ...]] = set()  # types of the values of a row
        self.count = 0
        while isinstance(row := self._value(), list):
            types = tuple(map(type, row))
            if types not in valid:
                if not _are_valid(types, columns):
                    raise self._invalid(f"the values do not fit the columns of {table.name}")
                valid.add(types)
            try:
                for index, convert in converters:
                    if row[index] is not None:
                        row[index] = convert(row[index])
            except ValueError as error:
                raise self._invalid(str(error)) from None
            self.count += 1
            yield row
        self._next = row

    def _line(self) -> bytes | None:
        """Return the next line, None at the end."""
        self._number += 1
        try:
            return next(self._lines, None)
        except (EOFError, zlib.error) as error:  # of a compressed file
            raise InvalidArchive(f"The file is damaged or incomplete: {error}.") from None

    def _value(self) -> Any:
        line = self._line()
        if line is None:
            raise InvalidArchive("The file is incomplete: it has no trailer.")
        try:
            return orjson.loads(line)
        except orjson.JSONDecodeError:
            raise self._invalid("this is not JSON") from None

    def _invalid(self, problem: str) -> InvalidArchive:
        return InvalidArchive(f"Line {self._number} is damaged or incomplete: {problem}.")


def _are_valid(types: tuple[type, ...], columns: list[Column[Any]]) -> bool:
    """Whether a row with values of these types fits the columns."""
    return len(types) == len(columns) and all(
        found in _json_types(column) or (found is type(None) and column.nullable)
        for found, column in zip(types, columns, strict=True)
    )


def _json_types(column: Column[Any]) -> set[type]:
    (types,) = (types for each, types in _JSON_TYPES.items() if isinstance(column.type, each))
    return types


def _converter(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """Return the function from a JSON value to the driver's, None if they are the same."""
    bind = column.type.dialect_impl(dialect).bind_processor(dialect)
    if not isinstance(column.type, UtcDateTime) or bind is None:
        return bind
    return lambda text: bind(datetime.fromisoformat(text))
