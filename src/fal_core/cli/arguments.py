"""
Arguments: words of a command line, made into those that a function takes.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fal_core.cli.parameters import ArgumentError, Arguments, Parameters
from fal_core.conversion.annotations import plain
from fal_core.conversion.texts import parse_json, parse_text
from fal_core.errors import OptionTypeError
from fal_core.functions import IsolatedFunction

__all__ = ["ArgumentError", "Arguments", "parse_json_arguments", "parse_words"]


def parse_words(function: IsolatedFunction[..., Any], words: Sequence[str]) -> Arguments:
    """
    Return the arguments that *words* stand for, each as its annotation has it.

    Words are taken by position; ``--name value`` and ``--name=value`` by name, and
    ``--name`` and ``--no-name`` alone for what is true or false.

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
    Return the arguments that a JSON object gives by name, or an array by position.

    Arguments:
        text: The JSON; ``-`` reads it from the standard input.

    Raises:
        ArgumentError: They do not fit the function.
    """
    try:
        value = json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise ArgumentError(f"The arguments are not JSON: {error}.") from None
    parameters = Parameters.of(function)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    if isinstance(value, dict):
        for name, given in value.items():
            kwargs[name] = _convert(parse_json, given, parameters.find(name), name)
    elif isinstance(value, list):
        for index, given in enumerate(value):
            parameter = parameters.at(index)
            args.append(_convert(parse_json, given, parameter, parameter.name))
    else:
        raise ArgumentError("The arguments must be a JSON object or array.")
    return parameters.check((tuple(args), kwargs))


def _named(parameters: Parameters, word: str, waiting: list[str]) -> tuple[str, str]:
    """
    Return the name and the text of an argument that is given by name.
    """
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
