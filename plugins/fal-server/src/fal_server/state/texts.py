"""Text that can be stored and sent, and compared regardless of its case."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

#: The collation of PostgreSQL that knows the cases of all letters. That of a database may know
#: those of ASCII alone.
CASES = "und-x-icu"


def valid_text(text: str) -> str:
    """
    Return *text* with each half of a surrogate pair replaced: neither a database nor a
    message of the protocol takes one. File names that are not UTF-8 have them.
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


#: The letters that are not ASCII and become such in lower case.
_LETTERS = {"k": "\u212a", "i": "\u0130"}


class MayContain(sa.sql.functions.FunctionElement[bool]):
    """
    Whether a text may contain another one in any case: a condition that is quick to look at,
    and that leaves most of those out which do not.
    """

    type = sa.Boolean()
    inherit_cache = True
    name = "may_contain"

    def __init__(self, column: sa.ColumnElement[str], text: str) -> None:
        low = text.lower()
        condition: sa.ColumnElement[bool] = sa.true()
        if low.isascii():
            # SQLite ignores the case of ASCII's letters.
            found = [column.contains(low, autoescape=True)]
            found += [
                sa.func.instr(column, other) > 0
                for letter, other in _LETTERS.items()
                if letter in low
            ]
            condition = sa.or_(*found)
        super().__init__(condition)


@compiles(MayContain)
def _compile_may_contain(element: MayContain, compiler: SQLCompiler, **options: Any) -> str:
    return f"({compiler.process(element.clauses, **options)})"


@compiles(MayContain, "postgresql")
def _compile_may_contain_for_postgresql(
    element: MayContain, compiler: SQLCompiler, **options: Any
) -> str:
    return "true"


class LowerCase(sa.sql.functions.FunctionElement[str]):
    """A text of the database in lower case, as Python has it."""

    type = sa.String()
    inherit_cache = True
    name = "lower_case"


@compiles(LowerCase)
def _compile(element: LowerCase, compiler: SQLCompiler, **options: Any) -> str:
    return f"lower{compiler.process(element.clause_expr, **options)}"


@compiles(LowerCase, "postgresql")
def _compile_for_postgresql(element: LowerCase, compiler: SQLCompiler, **options: Any) -> str:
    text = compiler.process(element.clauses, **options)
    return f'lower({text} COLLATE "{CASES}")'
