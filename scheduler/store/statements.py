"""Statements that are compiled once and then given to the driver as they are.

SQLAlchemy says what a statement is, and how a type looks in this database; its way of executing one costs
five times what the database needs for it, and some run for each delivery of each worker.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.sql.expression import ClauseElement

from .database import StoreError

Row = tuple[Any, ...]


class Statement:
    """One statement with named parameters, for databases of one kind.

    ``columns`` are those of an INSERT, when they are not all.
    """

    def __init__(self, clause: ClauseElement, columns: Sequence[str] | None = None) -> None:
        self.clause = clause
        self._columns = columns
        self._sql = ""
        self._defaults: Mapping[str, Any] = {}
        self._names: Sequence[str] = ()
        self._binds: list[Any] = []  # how each parameter is written, None for as it is
        self._results: list[tuple[int, Any]] = []  # the columns that are not taken as they come

    def _prepare(self, connection: Connection) -> None:
        dialect = connection.dialect
        compiled: Any = self.clause.compile(dialect=dialect, column_keys=self._columns)
        self._names = list(compiled.positiontup)
        self._defaults = {name: bind.value for name, bind in compiled.binds.items()}
        types = [compiled.binds[name].type.dialect_impl(dialect) for name in self._names]
        self._binds = [kind.bind_processor(dialect) for kind in types]
        selected = getattr(compiled.statement, "selected_columns", ())
        readers = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in selected]
        self._results = [(index, reader) for index, reader in enumerate(readers) if reader is not None]
        self._sql = str(compiled)

    def _values(self, given: Mapping[str, Any]) -> list[Any]:
        values = [given[name] if name in given else self._defaults[name] for name in self._names]
        return [
            value if write is None else write(value) for value, write in zip(values, self._binds, strict=True)
        ]

    def _execute(self, connection: Connection, parameters: Sequence[Any], *, many: bool = False) -> Any:
        cursor = driver(connection).cursor()
        try:
            (cursor.executemany if many else cursor.execute)(self._sql, parameters)
        except connection.dialect.loaded_dbapi.Error as error:
            cursor.close()
            raise StoreError(f"The database could not do that, nothing was changed: {error}.") from error
        return cursor

    def run(self, connection: Connection, **parameters: Any) -> int:
        """Execute it; the number that the database gave to a row that was added."""
        if not self._sql:
            self._prepare(connection)
        cursor = self._execute(connection, self._values(parameters))
        number: int = cursor.lastrowid or 0
        cursor.close()
        return number

    def run_each(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute it once for each of several sets of parameters."""
        if not self._sql:
            self._prepare(connection)
        self._execute(connection, [self._values(row) for row in rows], many=True).close()

    def rows(self, connection: Connection, **parameters: Any) -> Iterator[Row]:
        """Execute it; its rows one after the other."""
        if not self._sql:
            self._prepare(connection)
        cursor = self._execute(connection, self._values(parameters))
        try:
            for row in cursor:
                yield self._read(row) if self._results else row
        finally:
            cursor.close()

    def first(self, connection: Connection, **parameters: Any) -> Row | None:
        """Execute it; its first row, None when there is none."""
        if not self._sql:
            self._prepare(connection)
        cursor = self._execute(connection, self._values(parameters))
        row = cursor.fetchone()
        cursor.close()
        return None if row is None else self._read(row)

    def _read(self, row: Row) -> Row:
        values = list(row)
        for index, reader in self._results:
            values[index] = reader(values[index])
        return tuple(values)


def driver(connection: Connection) -> Any:
    """The database driver's own connection below one of SQLAlchemy."""
    return connection.connection.driver_connection
