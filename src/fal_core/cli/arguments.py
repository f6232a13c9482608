"""Arguments: words of a command line, made into the arguments that a function takes."""

from __future__ import annotations

import inspect
import json
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from fal_core.conversion.annotations import plain
from fal_core.conversion.texts import parse_json, parse_text
from fal_core.errors import OptionTypeError
from fal_core.functions import IsolatedFunction
from fal_core_worker.annotations import signature_of

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

_EMPTY = inspect.Parameter.empty
_BY_POSITION = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


class ArgumentError(ValueError):
    """Arguments of the command line do not fit the function."""


class UnknownArgument(ArgumentError):
    """The function has no argument *name*."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def parse_words(function: IsolatedFunction[..., Any], words: Sequence[str]) -> Arguments:
    """
    Return the arguments in *words*, each converted by its annotation.

    Words are positional; ``--name value`` and ``--name=value`` give an argument by name,
    and ``--name`` and ``--no-name`` alone give a boolean.

    Raises:
        ArgumentError: They do not fit the function.
    """
    parameters = Parameters.of(function)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--") or word == "--":
            parameter = parameters.at(len(args))
            args.append(_convert(parse_text, word, parameter, parameter.name))
            continue
        name, text = _named(parameters, word, waiting)
        if name in kwargs:
            raise ArgumentError(f"Argument {name!r} is given twice.")
        kwargs[name] = _convert(parse_text, text, parameters.find(name), name)
    return parameters.check((tuple(args), kwargs))


def parse_json_arguments(function: IsolatedFunction[..., Any], text: str) -> Arguments:
    """
    Return the arguments of a JSON object, by name, or of an array, by position.

    Arguments:
        text: The JSON; ``-`` reads it from standard input.

    Raises:
        ArgumentError: They do not fit the function.
    """
    value = _read_json(sys.stdin.read() if text == "-" else text, "The arguments are")
    if not isinstance(value, dict | list):
        raise ArgumentError("The arguments must be a JSON object or array.")
    return _take_json(Parameters.of(function), value)


def parse_items(
    function: IsolatedFunction[..., Any], text: str
) -> Sequence[Arguments] | Iterator[Arguments]:
    """
    Return the arguments of each call of a map.

    An item is an object of arguments by name, an array of them by position, or the only one.

    Arguments:
        text: A JSON array of items; ``-`` reads a line of JSON for each from standard input.

    Raises:
        ArgumentError: They do not fit the function. What is read raises it when it is taken.
    """
    parameters = Parameters.of(function)
    if text == "-":
        lines = filter(str.strip, sys.stdin)
        values = (
            _read_json(line, f"Line {number} of the input is")
            for number, line in enumerate(lines, 1)
        )
        return (_take_item(parameters, value) for value in values)
    value = _read_json(text, "The items are")
    if not isinstance(value, list):
        raise ArgumentError("The items of '--map' must be a JSON array.")
    return [_take_item(parameters, each) for each in value]


def _read_json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{what} not JSON: {error}.") from None


def _take_item(parameters: Parameters, value: Any) -> Arguments:
    return _take_json(parameters, value if isinstance(value, dict | list) else [value])


def _take_json(parameters: Parameters, value: dict[str, Any] | list[Any]) -> Arguments:
    """Return the arguments of an object, by name, or of an array, by position."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    if isinstance(value, dict):
        for name, given in value.items():
            kwargs[name] = _convert(parse_json, given, parameters.find(name), name)
    else:
        for index, given in enumerate(value):
            parameter = parameters.at(index)
            args.append(_convert(parse_json, given, parameter, parameter.name))
    return parameters.check((tuple(args), kwargs))


def _named(parameters: Parameters, word: str, waiting: list[str]) -> tuple[str, str]:
    """Return the name and the text of an argument given by name."""
    written, equals, text = word[2:].partition("=")
    name = written.replace("-", "_")
    if equals:
        return name, text
    if name.startswith("no_") and _is_flag(parameters.named.get(name[3:])):
        return name[3:], "false"
    following = waiting[0].lower() if waiting else ""
    if _is_flag(parameters.named.get(name)) and following not in ("true", "false"):
        return name, "true"
    parameters.find(name)
    if not waiting:
        raise ArgumentError(f"Argument {name!r} has no value. Write '--{written} value'.")
    return name, waiting.pop(0)


def _is_flag(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and plain(parameter.annotation) is bool


def _convert(
    parse: Callable[[Any, Any, str], Any],
    given: Any,
    parameter: inspect.Parameter,
    name: str,
) -> Any:
    try:
        return parse(given, parameter.annotation, name)
    except OptionTypeError as error:
        raise ArgumentError(
            f"Argument {error.option!r} must be {error.expected}, not {error.got}."
        ) from None


# -- Parameters --------------------------------------------------------------------


@attrs.frozen
class Parameters:
    """
    The parameters that a caller of a function gives.

    Attributes:
        name: The name of the function.

        positional: Those that may be given by position.

        named: Those that may be given by name.

        rest: The parameter of further positional arguments, if there is one.

        others: The parameter of further named arguments, if there is one.
    """

    name: str
    signature: inspect.Signature
    positional: tuple[inspect.Parameter, ...]
    named: Mapping[str, inspect.Parameter]
    rest: inspect.Parameter | None
    others: inspect.Parameter | None

    @classmethod
    def of(cls, function: IsolatedFunction[..., Any]) -> Parameters:
        """Return the parameters of *function*, without the one that its ``setup_function`` gives."""
        name = getattr(function.raw_func, "__name__", "function")
        signature = _signature(function.raw_func)
        every = list(signature.parameters.values())
        if function.options.host.get("setup_function") is not None:
            every = every[1:]
        signature = signature.replace(parameters=every)

        def first(kind: Any) -> inspect.Parameter | None:
            return next((each for each in every if each.kind is kind), None)

        return cls(
            name,
            signature,
            tuple(each for each in every if each.kind in _BY_POSITION),
            {
                each.name: each
                for each in every
                if each.kind is each.KEYWORD_ONLY or each.kind is each.POSITIONAL_OR_KEYWORD
            },
            first(inspect.Parameter.VAR_POSITIONAL),
            first(inspect.Parameter.VAR_KEYWORD),
        )

    def check(self, arguments: Arguments) -> Arguments:
        """
        Return *arguments* unchanged if they fit.

        Raises:
            ArgumentError: They do not fit.
        """
        args, kwargs = arguments
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"{self.name}{self.signature}: {error}.") from None
        return arguments

    def find(self, name: str) -> inspect.Parameter:
        """
        Return the parameter for an argument given as *name*.

        Raises:
            UnknownArgument: There is none.
        """
        found = self.named.get(name) or self.others
        if found is None:
            known = ", ".join(self.named) or "none"
            raise UnknownArgument(
                name, f"{self.name} has no argument {name!r}. Its named arguments: {known}."
            )
        return found

    def at(self, index: int) -> inspect.Parameter:
        """Return the parameter for the positional argument number *index*."""
        if index < len(self.positional):
            return self.positional[index]
        if self.rest is None:
            count = len(self.positional)
            arguments = f"{count} argument" if count == 1 else f"{count or 'no'} arguments"
            raise ArgumentError(
                f"{self.name}{self.signature} takes {arguments} by position, and was given "
                "more."
            )
        return self.rest


def _signature(func: Any) -> inspect.Signature:
    """Return the signature of *func*, its annotations resolved to types where possible."""
    try:
        signature = signature_of(func)
    except (TypeError, ValueError):
        return inspect.Signature(
            [
                inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
            ]
        )
    try:
        hints = typing.get_type_hints(inspect.unwrap(func), include_extras=True)
    except Exception:
        # They name what only the environment has; such arguments are read as JSON.
        hints = {}
    found = []
    for parameter in signature.parameters.values():
        annotation = hints.get(parameter.name, parameter.annotation)
        if isinstance(annotation, str):
            annotation = _EMPTY
        found.append(parameter.replace(annotation=annotation))
    return signature.replace(parameters=found)
