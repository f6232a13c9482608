"""
The functions of a worker, which are opened when the first call needs them.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Functions:
    """
    The functions of one worker, by the slots that the launching process has given them.
    """

    def __init__(self) -> None:
        self._sent: dict[int, tuple[Any, ...]] = {}
        self._open: dict[int, tuple[Callable[..., Any], Any]] = {}
        self._setups: dict[str, tuple[Any]] = {}

    def put(self, slot: int, payload: bytes) -> None:
        """
        Keep the function that a FUNCTION frame carries. It replaces an earlier one.
        """
        self._sent[slot] = marshal.loads(payload)
        self._open.pop(slot, None)

    def raw(self, slot: int) -> Any:
        """
        Return the function itself, or None if it is not open. Values are sealed for it.
        """
        opened = self._open.get(slot)
        return opened and opened[1]

    def get(self, slot: int) -> tuple[Callable[..., Any], Any]:
        """
        Return what to call, with the result of the setup bound to it, and the function.
        """
        opened = self._open.get(slot)
        if opened is None:
            opened = self._open[slot] = self._prepare(slot)
        return opened

    def awaits_setup(self, slot: int) -> bool:
        """
        Tell whether :meth:`get` will run the setup function.
        """
        setup = self._sent[slot][4]
        return bool(setup) and setup[0] not in self._setups

    def _prepare(self, slot: int) -> tuple[Callable[..., Any], Any]:
        # A worker starts without it.
        from fal_core_worker.opening.functions import open_forms

        _, native, portable, refusal, setup = self._sent[slot]
        function = open_forms(native, portable, refusal)
        if not setup:
            return function, function
        digest, *forms = setup
        if digest not in self._setups:
            self._setups[digest] = (open_forms(*forms)(),)
        (value,) = self._setups[digest]
        return _Prepared(function, value), function


class _Prepared:
    """
    A function with the result of its setup function as first argument.
    """

    __slots__ = ("_function", "_value")

    def __init__(self, function: Callable[..., Any], value: Any) -> None:
        self._function = function
        self._value = value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(self._value, *args, **kwargs)
