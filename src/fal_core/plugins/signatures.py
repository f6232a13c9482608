"""
Signatures: the methods of a class that a plugin provides can be called as the contract says.
"""

from __future__ import annotations

import inspect
from types import FunctionType

#: What makes a function more than one that takes its arguments by position and runs at once.
_SPECIAL = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)


def check_signatures(cls: type) -> str | None:
    """
    Check that the methods of *cls* take what the contract says that they are given.
    """
    for base in cls.__mro__[1:]:
        if not base.__module__.startswith("fal_core."):
            continue
        for name, declared in vars(base).items():
            written = inspect.getattr_static(cls, name)
            if name.startswith("_") or written is declared:
                continue
            problem = _compare(cls, name, declared, written)
            if problem is not None:
                return problem
    return None


def _compare(cls: type, name: str, declared: object, written: object) -> str | None:
    contract = _function_of(declared)
    if contract is None:
        return None
    function = _function_of(written)
    if type(written) is type(declared) and function and _are_alike(function, contract):
        return None
    # Annotations are read where there is more to compare, and to show.
    from fal_core_worker.annotations import signature_of

    wanted = inspect.signature(contract)
    of_class = isinstance(declared, classmethod)
    to_write = f"'{'@classmethod ' if of_class else ''}def {name}{_show(wanted)}'"
    if function is None:
        # What takes its arguments by other means is not judged.
        is_method = callable(written) or isinstance(written, (staticmethod, classmethod))
        return None if is_method else f"{cls.__name__}.{name} is no method: {written!r}."
    is_lazy = inspect.isgeneratorfunction(function) and not _may_be_lazy(wanted)
    if is_lazy or inspect.iscoroutinefunction(function):
        manner = "yields" if is_lazy else "is async"
        return (
            f"{cls.__name__}.{name} {manner}, so calling it does nothing. "
            f"Write {to_write} that runs when it is called."
        )
    taken = signature_of(function)
    given = list(wanted.parameters)
    if isinstance(written, staticmethod) or (of_class and written is function):
        # Nothing is bound to the first one.
        del given[0]
    try:
        taken.bind(*given)
    except TypeError:
        return (
            f"{cls.__name__}.{name} takes {_show(taken)}, and is called "
            f"with ({', '.join(given)}). Write {to_write}."
        )
    return None


def _function_of(attribute: object) -> FunctionType | None:
    if isinstance(attribute, (staticmethod, classmethod)):
        attribute = attribute.__func__
    return attribute if isinstance(attribute, FunctionType) else None


def _are_alike(one: FunctionType, other: FunctionType) -> bool:
    """
    Tell whether two functions take as many arguments by position, and nothing else.

    Most of those there are do, and every program that declares a function asks this.
    """
    first, second = one.__code__, other.__code__
    return (
        first.co_argcount == second.co_argcount
        and not (first.co_kwonlyargcount or second.co_kwonlyargcount)
        and not (first.co_flags | second.co_flags) & _SPECIAL
    )


def _show(signature: inspect.Signature) -> str:
    """
    Return the names in *signature*, with the stars before them.
    """
    empty = inspect.Parameter.empty
    names = [
        parameter.replace(annotation=empty, default=empty)
        for parameter in signature.parameters.values()
    ]
    # Made anew: names without defaults may follow each other as they like.
    return str(inspect.Signature(names))


def _may_be_lazy(wanted: inspect.Signature) -> bool:
    return str(wanted.return_annotation).startswith("Iter")
