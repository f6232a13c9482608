"""Local runs: calls of a function in this process, which are prepared as a worker would."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any, Protocol

from fal_core.calling.serving import refuse_call
from fal_core.declaring.declaration import Declaration
from fal_core.declaring.vocabulary import structure_host_options


class Declared(Protocol):
    """An isolated function, as far as it is run here."""

    @property
    def declaration(self) -> Declaration: ...

    @property
    def func(self) -> Callable[..., Any]: ...

    def check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None: ...


class LocalRuns:
    """The calls of one function in this process."""

    def __init__(self) -> None:
        # The setup of a function may run the function itself.
        self._lock = threading.RLock()
        self._prepared: tuple[Callable[[], Any], Any] | None = None

    def run(self, function: Declared, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the declared function here; its ``setup_function`` runs once, before the first run."""
        declaration = function.declaration
        if declaration.options.gateway.get("serve"):
            if args:
                refuse_call(declaration.name, "arguments")
            return function.func(*args, **kwargs)
        function.check_arguments(args, kwargs)
        func: Any = declaration.raw_func
        setup = structure_host_options(declaration.options, declaration.host).setup_function
        if setup is not None:
            args = (self._prepare(setup), *args)
        result = func(*args, **kwargs)
        if inspect.iscoroutine(result):
            import asyncio

            result = asyncio.run(result)
        return result

    def _prepare(self, setup: Callable[[], Any]) -> Any:
        with self._lock:
            if self._prepared is None or self._prepared[0] != setup:
                self._prepared = setup, setup()
            return self._prepared[1]
