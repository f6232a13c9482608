"""Hosts that break the laws of values."""

from __future__ import annotations

import threading
from types import GeneratorType
from typing import Any

from fal_core.calls import Call
from fal_core.events import Sink
from fal_testing import InProcessHost
from fal_testing.hosts.in_process_calls import InProcessExecution


class MakesReadOnly(InProcessHost):
    """Gives functions, their callers and home values whose memory is read-only."""

    def launch(self, call: Call, sink: Sink) -> InProcessExecution:
        execution = _MakesReadOnly(self, call, sink)
        threading.Thread(target=execution.run, daemon=True).start()
        return execution

    def find_function(self, call: Call) -> tuple[Any, Any]:
        function, raw = super().find_function(call)

        def run(*args: Any, **kwargs: Any) -> Any:
            return _read_only(function(*_read_only(args), **_read_only(kwargs)))

        return run, raw


class _MakesReadOnly(InProcessExecution):
    def call_home(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _read_only(super().call_home(number, args, kwargs))


def _read_only(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(map(_read_only, value))
    if isinstance(value, dict):
        return {name: _read_only(item) for name, item in value.items()}
    if isinstance(value, GeneratorType):
        return _each_read_only(value)
    if isinstance(getattr(value, "data", None), bytearray | memoryview):
        return type(value)(bytes(value.data))
    return value


def _each_read_only(items: Any) -> Any:
    for item in items:
        yield _read_only(item)


class OpensEqualsOnce(InProcessHost):
    """Gives functions one object for all arguments that look alike when they arrive."""

    def find_function(self, call: Call) -> tuple[Any, Any]:
        function, raw = super().find_function(call)
        opened: dict[str, Any] = self.__dict__.setdefault("opened", {})

        def run(*args: Any, **kwargs: Any) -> Any:
            return function(*(opened.setdefault(repr(arg), arg) for arg in args), **kwargs)

        return run, raw
