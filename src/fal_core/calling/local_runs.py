"""
Local runs: calls of a function in this process, which are prepared as a worker would.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

from fal_core.declaring.declaration import Declaration
from fal_core.declaring.vocabulary import structure_host_options


class LocalRuns:
    """
    The calls of one function in this process.
    """

    def __init__(self) -> None:
        # The setup of a function may run the function itself.
        self._lock = threading.RLock()
        self._prepared: tuple[Callable[[], Any], Any] | None = None

    def run(
        self, declaration: Declaration, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """
        Run the declared function here; its ``setup_function`` runs once, before the first run.
        """
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
