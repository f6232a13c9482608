"""Entries: machine types as users write them, checked at the place where they are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from fal_core.errors import OptionError
from fal_core.facts import facts
from fal_core.machines import Machine
from fal_machines.sizes import read_size
from fal_machines.toml_files import TomlError, find_line, parse_toml


@facts
class MachineFileError(OptionError):
    """
    A file that declares machine types is wrong.

    Attributes:
        path: The file.

        line: The line of the mistake. None where it is that of the whole file.

        problem: What is wrong and what to write instead, as sentences.
    """

    path: str
    line: int | None
    problem: str

    def __str__(self) -> str:
        place = "" if self.line is None else f", line {self.line}"
        return f"{self.path}{place}: {self.problem}"


@attrs.frozen
class _Field:
    """
    One thing that an entry may state.

    Attributes:
        read: Returns the value as a machine has it; None if it is wrong.

        expected: What is to be written, for people.
    """

    read: Callable[[Any], Any]
    expected: str


def _number(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 < value < float("inf") else None


def _price(value: Any) -> Any:
    return 0 if value == 0 and not isinstance(value, bool) else _number(value)


def _count(value: Any) -> Any:
    return value if type(value) is int and value >= 0 else None


def _size(value: Any) -> Any:
    if isinstance(value, str):
        return read_size(value) or None
    return value if type(value) is int and value > 0 else None


def _text(value: Any) -> Any:
    return value if isinstance(value, str) and value.strip() else None


def _capability(value: Any) -> Any:
    return value if isinstance(value, str) and re.fullmatch(r"\d+\.\d+", value) else None


_A_SIZE = 'a size with its unit, as in "64 GB" or "64 GiB", or a number of bytes'
_FIELDS: Mapping[str, _Field] = {
    "cpus": _Field(_number, "a number above 0, as in 0.5 or 8"),
    "memory": _Field(_size, _A_SIZE),
    "gpus": _Field(_count, "a whole number, as in 1"),
    "gpu_model": _Field(_text, 'words of the name of the model, as in "RTX 4090"'),
    "gpu_memory": _Field(_size, _A_SIZE),
    "compute_capability": _Field(_capability, 'text, as in "9.0"'),
    "price": _Field(_price, "what an hour costs, a number of at least 0, as in 1.5"),
    "source": _Field(_text, 'text, as in "https://…"'),
}


@attrs.frozen
class Document:
    """
    The content of a file that may declare machine types.

    Attributes:
        path: The file.

        table: The names of the tables around those of the machine types.

        text: What is written.

        content: What that says.
    """

    path: str
    table: tuple[str, ...]
    text: str
    content: Mapping[str, Any]

    @classmethod
    def parse(cls, path: str, table: tuple[str, ...], data: bytes) -> Document:
        """
        Return the content of the file at *path*.

        Raises:
            MachineFileError: It is no TOML.
        """
        try:
            text = data.decode("utf-8")
            return cls(path, table, text, parse_toml(text))
        except (UnicodeDecodeError, TomlError) as error:
            raise MachineFileError(path, None, f"It is no valid TOML: {error}.") from None

    @property
    def entries(self) -> Any:
        """What is in the table of machine types. None where there is no such table."""
        found: Any = self.content
        for name in self.table:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def read(self, known: Mapping[str, Machine]) -> Mapping[str, Machine]:
        """
        Return *known*, with what the file declares over them and after them.

        Raises:
            MachineFileError: It declares something wrong.
        """
        entries = self.entries
        title = ".".join(self.table)
        if not isinstance(entries, Mapping):
            problem = f"Machine types are written as tables, [{title}.NAME]."
            raise self._error(problem, *self.table)
        read = {name: self._read(name, entry, known) for name, entry in entries.items()}
        return {**known, **read}

    def refuse_others(self) -> None:
        """
        Refuse what is no machine type, in a file that has nothing else.

        Raises:
            MachineFileError: There is something.
        """
        for name in self.content:
            if name != self.table[0]:
                title = ".".join((*self.table, name))
                raise self._error(f"{name!r} is no machine type: write [{title}].", name)

    def _read(self, name: str, entry: Any, known: Mapping[str, Machine]) -> Machine:
        place = (*self.table, name)
        if not name.strip():
            raise self._error("A machine type needs a name.", *place)
        if not isinstance(entry, Mapping):
            title = ".".join(place)
            raise self._error(f"Machine type {name!r} is no table: write [{title}].", *place)
        stated: dict[str, Any] = {}
        for key, value in entry.items():
            field = _FIELDS.get(key)
            if field is None:
                raise self._error(_describe_key(key), *place, key)
            stated[key] = field.read(value)
            if stated[key] is None:
                problem = f"{key!r} must be {field.expected}, and not {value!r}."
                raise self._error(problem, *place, key)
        base = known.get(name, Machine(name=name))
        stated.setdefault("source", ", ".join(filter(None, (base.source, self.path))))
        machine = attrs.evolve(base, **stated)
        for key in ("gpu_model", "gpu_memory", "compute_capability"):
            if not machine.gpus and getattr(machine, key) is not None:
                raise self._error(f"{key!r} goes with 'gpus', as in gpus = 1.", *place, key)
        return machine

    def _error(self, problem: str, *names: str) -> MachineFileError:
        return MachineFileError(self.path, find_line(self.text, names), problem)


def _describe_key(key: str) -> str:
    from difflib import get_close_matches

    for near in get_close_matches(key, _FIELDS, n=1):
        return f"Unknown key {key!r}. Did you mean {near!r}?"
    return f"Unknown key {key!r}. A machine type may state {', '.join(_FIELDS)}."
