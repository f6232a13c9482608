"""The table "Where the documented names live" is true."""

from __future__ import annotations

import csv
import functools
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_core.facts import facts_of

ROOT = Path(__file__).resolve().parent.parent


@attrs.frozen(kw_only=True)
class Row:
    """
    One documented name, as ``docs/documented-names.csv`` has it.

    Attributes:
        documented: The path in the API's documentation.

        here: The path that it is imported from.

        parameters: As documented, in parentheses; empty for what is not called.
    """

    documented: str
    here: str
    distribution: str
    parameters: str


def read_table() -> list[Row]:
    """Return the rows of the table."""
    with (ROOT / "docs/documented-names.csv").open(newline="", encoding="utf-8") as file:
        return [Row(**row) for row in csv.DictReader(file)]


@functools.cache
def is_installed(distribution: str) -> bool:
    """Tell whether the sources of a distribution are here, and it is installed."""
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return distribution == "fal-core" or (ROOT / "plugins" / distribution).is_dir()


TABLE = read_table()


def rows_here() -> list[Row]:
    """Return the rows of distributions that are installed."""
    return [row for row in TABLE if is_installed(row.distribution)]


def tell_missing() -> None:
    """Skip the rest of a test where a distribution is not installed, and name it."""
    missing = sorted({row.distribution for row in TABLE if not is_installed(row.distribution)})
    if missing:
        pytest.skip(f"Left out, as they are not installed: {', '.join(missing)}.")


def find(row: Row) -> Any:
    """Import the object that the row names."""
    *parents, last = row.here.split(".")
    for index in range(len(parents), 0, -1):
        try:
            found = importlib.import_module(".".join(parents[:index]))
        except ModuleNotFoundError:
            continue
        for name in (*parents[index:], last):
            found = look(found, name)
        return found
    raise LookupError(f"Nothing can be imported for {row.here}.")


def look(found: Any, name: str) -> Any:
    """Return *name* of a module, which may make it lazily, or of a class, unbound."""
    if not isinstance(found, type):
        return getattr(found, name)
    if attrs.has(found) and name in attrs.fields_dict(found):
        return attrs.fields_dict(found)[name]
    if name in facts_of(found):
        return name
    return inspect.getattr_static(found, name)


def own_fields(found: type) -> list[str]:
    """Return the fields that a class adds to those of its bases."""
    if attrs.has(found):
        if "__attrs_attrs__" not in vars(found):
            return []
        return [
            field.alias
            for field in attrs.fields(found)
            if not field.inherited and not field.alias.startswith("_")
        ]
    if facts_of(found):
        return [name for name in facts_of(found) if name in inspect.get_annotations(found)]
    return list(getattr(found, "_fields", ()))


def signature_of(found: Any) -> inspect.Signature:
    """Return how *found* is called, without the instance or class it is bound to."""
    bound = isinstance(found, classmethod)
    function = found.__func__ if isinstance(found, classmethod | staticmethod) else found
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    if bound or (parameters and parameters[0].name in {"self", "cls"}):
        parameters = parameters[1:]
    return signature.replace(parameters=parameters)


def documented_signature(row: Row) -> inspect.Signature:
    """Return the signature that the documentation gives."""
    text = row.parameters.replace("<factory>", "...")
    function = eval(f"lambda {text[1:-1]}: None")
    assert callable(function)
    return inspect.signature(function)


def test_table_has_no_row_twice():
    """Each documented name stands in the table once."""
    documented = [row.documented for row in TABLE]
    assert len(documented) == len(set(documented))


def test_name_is_where_the_table_says(check_all: Callable[..., None]):
    """Every row of a distribution that is here can be imported."""

    def check(row: Row) -> None:
        assert find(row) is not None

    check_all(check, rows_here())
    tell_missing()


def test_fields_of_documented_classes_stand_in_the_table():
    """Each field and class variable of a documented class has a row of its own."""
    missing = []
    documented = {row.here for row in TABLE}
    for row in rows_here():
        if not row.parameters or not row.documented.startswith("fal.api."):
            continue
        found = find(row)
        # The package has the client's classes again.
        if not isinstance(found, type) or row.documented.count(".") == 2:
            continue
        for name in own_fields(found):
            wanted = f"{row.here}.{name}"
            if name in documented_signature(row).parameters and wanted not in documented:
                missing.append(wanted)
    assert missing == []


def test_call_as_documented_is_understood(check_all: Callable[..., None]):
    """Documented parameters keep their order, names and defaults; new ones only follow them."""
    check_all(check_call, [row for row in rows_here() if row.parameters])
    tell_missing()


def check_call(row: Row) -> None:
    actual = signature_of(find(row)).parameters
    positional = [
        parameter.name
        for parameter in actual.values()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    for index, documented in enumerate(documented_signature(row).parameters.values()):
        if documented.kind in {documented.VAR_KEYWORD, documented.VAR_POSITIONAL}:
            assert documented.kind in {parameter.kind for parameter in actual.values()}
            continue
        assert documented.name in actual
        if documented.kind is documented.POSITIONAL_OR_KEYWORD:
            assert positional[index] == documented.name
        default = actual[documented.name].default
        if documented.default is ...:
            assert default is not inspect.Parameter.empty
        elif documented.default is not documented.empty:
            assert default == documented.default
