"""
Parameters: what a function takes from whoever calls it.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import Any

import attrs

from fal_core.functions import IsolatedFunction

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

_EMPTY = inspect.Parameter.empty
_BY_POSITION = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


class ArgumentError(ValueError):
    """
    The words of the command line do not fit the function.
    """


@attrs.frozen
class Parameters:
    """
    What a function takes from whoever calls it.

    Attributes:
        name: Of the function.

        positional: Those that may be given by position.

        named: Those that may be given by name.

        rest: The annotation of further positional arguments. None where there are none.

        others: The annotation of further named arguments. None where there are none.
    """

    name: str
    signature: inspect.Signature
    positional: tuple[inspect.Parameter, ...]
    named: Mapping[str, inspect.Parameter]
    rest: inspect.Parameter | None
    others: inspect.Parameter | None

    @classmethod
    def of(cls, function: IsolatedFunction[..., Any]) -> Parameters:
        """
        Return the parameters of *function*, that of its ``setup_function`` left out.
        """
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
        Return *arguments*, which fit.

        Raises:
            ArgumentError: They do not.
        """
        args, kwargs = arguments
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"{self.name}{self.signature}: {error}.") from None
        return arguments

    def find(self, name: str) -> inspect.Parameter:
        """
        Return the parameter that is given as *name*.
        """
        found = self.named.get(name) or self.others
        if found is None:
            known = ", ".join(self.named) or "none"
            raise ArgumentError(
                f"{self.name} has no argument {name!r}. Its named arguments: {known}."
            )
        return found

    def at(self, index: int) -> inspect.Parameter:
        """
        Return the parameter that is given as number *index*.
        """
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
    """
    Return the signature of *func*, its annotations as types where they can be found.
    """
    try:
        signature = inspect.signature(func)
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
        # It names what only the environment has; such arguments are taken as JSON.
        hints = {}
    found = []
    for parameter in signature.parameters.values():
        annotation = hints.get(parameter.name, parameter.annotation)
        if isinstance(annotation, str):
            annotation = _EMPTY
        found.append(parameter.replace(annotation=annotation))
    return signature.replace(parameters=found)
