"""The functions of a worker, which are opened when the first call needs them."""

from __future__ import annotations

import marshal
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class KeptFunction:
    """
    A function that has been sent, and what it is once it was opened.

    A call holds it from when it arrives, since another function may take its slot.

    Attributes:
        opened: What to call, and the function itself; None until the first call.
    """

    __slots__ = ("opened", "sent")

    def __init__(self, sent: tuple[Any, ...]) -> None:
        self.sent: tuple[Any, ...] = sent
        self.opened: tuple[Callable[..., Any], Any] | None = None

    @property
    def raw(self) -> Any:
        """The function itself, or None if it is not open. Values are sealed for it."""
        return self.opened and self.opened[1]


class Functions:
    """The functions of one worker, by the slots that the launching process has given them."""

    def __init__(self) -> None:
        self._slots: dict[int, KeptFunction] = {}
        self._setups: dict[str, tuple[Any]] = {}

    def put(self, slot: int, payload: bytes) -> None:
        """Keep the function that a FUNCTION frame carries. It replaces an earlier one."""
        self._slots[slot] = KeptFunction(marshal.loads(payload))

    def find(self, slot: int) -> KeptFunction:
        """Return the function that *slot* has now."""
        return self._slots[slot]

    def get(self, slot: int) -> tuple[Callable[..., Any], Any]:
        """Open the function that *slot* has now, see :meth:`open`."""
        return self.open(self._slots[slot])

    def open(self, kept: KeptFunction) -> tuple[Callable[..., Any], Any]:
        """Return what to call, with the result of the setup bound to it, and the function."""
        opened = kept.opened
        if opened is None:
            opened = kept.opened = self._prepare(kept)
        return opened

    def awaits_setup(self, kept: KeptFunction) -> bool:
        """Tell whether :meth:`open` will run the setup function."""
        setup = kept.sent[4]
        return bool(setup) and setup[0] not in self._setups

    def _prepare(self, kept: KeptFunction) -> tuple[Callable[..., Any], Any]:
        # A worker starts without it.
        from fal_core_worker.opening.functions import open_forms

        _, native, portable, refusal, setup = kept.sent
        function = open_forms(native, portable, refusal)
        if not setup:
            return function, function
        digest, *forms = setup
        if digest not in self._setups:
            self._setups[digest] = (open_forms(*forms)(),)
        (value,) = self._setups[digest]
        return _Prepared(function, value), function


class _Prepared:
    """A function with the result of its setup function as first argument."""

    __slots__ = ("_function", "_value")

    def __init__(self, function: Callable[..., Any], value: Any) -> None:
        self._function = function
        self._value = value

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._function(self._value, *args, **kwargs)
