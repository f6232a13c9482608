"""
Prepared statements: compiled once, and run many times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa


class Prepared:
    """
    A statement that changes or reads rows, and is compiled only once.

    SQLAlchemy takes longer to prepare a statement than SQLite takes to run it. The values
    go to the driver as they are, without the conversions of their column types.
    """

    def __init__(self, statement: sa.UpdateBase | sa.Select[Any]) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, Sequence[str] | None, Mapping[str, Any]]] = {}

    def run(self, connection: sa.Connection, values: Mapping[str, Any]) -> int:
        """
        Execute it, and return how many rows it changed.
        """
        return self._execute(connection, values).rowcount

    def first(self, connection: sa.Connection, values: Mapping[str, Any]) -> Any:
        """
        Execute it, and return the first value of the first row that it reads, if any.
        """
        return self._execute(connection, values).scalar()

    def _execute(
        self, connection: sa.Connection, values: Mapping[str, Any]
    ) -> sa.CursorResult[Any]:
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            compiled = self._statement.compile(dialect=dialect)
            order = compiled.positiontup if compiled.positional else None
            self._compiled[dialect.name] = str(compiled), order, compiled.params
        text, names, constants = self._compiled[dialect.name]
        given = {**constants, **values}
        parameters = given if names is None else tuple([given[name] for name in names])
        return connection.exec_driver_sql(text, parameters)
