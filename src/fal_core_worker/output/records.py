"""
Records: what functions log, and the warnings that they cause, one event for each.

Python prints both to standard error where nobody has set anything else up: a traceback becomes
many lines, and the level is lost. Here they are written to the log of the call instead.
Handlers of the function's own are used as anywhere.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder

from fal_core_worker import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Sequence
    from typing import Any

#: The name that Python gives to the logger of warnings.
WARNINGS = "py.warnings"


def install(level: str | None = None) -> None:
    """
    Write records and warnings to the log of the call that causes them.

    ``logging`` and ``warnings`` are set up once the function has imported them, as they are
    slow to import.

    Arguments:
        level: Write all records from this level on, by a handler of the root logger. None to
            write those that no handler takes.
    """
    for name, prepare in _PREPARE.items():
        if name in sys.modules:
            prepare(sys.modules[name])
    if not any(type(finder) is _Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    if level is not None:
        import logging

        handler = _make_handler(logging)
        # A logger of the function may have a lower level of its own.
        handler.setLevel(level)
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(level)


def write(level: str, text: str, logger: str | None = None) -> bool:
    """
    Write a line, or a record of *logger*, to the log of the call that runs.

    Return False where none does.
    """
    runtime = current.runtime
    if runtime is None:
        return False
    try:
        runtime.output.write(level, text, logger)
    except RuntimeError:
        # A thread of no call, in a process that is more than a worker.
        return False
    return True


def _prepare_logging(logging: Any) -> None:
    handler = _make_handler(logging)
    handler.setLevel(logging.WARNING)
    # Takes what no other handler does. It is there to be replaced.
    logging.lastResort = handler


def _make_handler(logging: Any) -> Any:
    class Handler(logging.Handler):  # type: ignore[misc]  # the module is an argument
        """Writes records to the log of the call."""

        def emit(self, record: Any) -> None:
            try:
                text = self.format(record)
                if not write(level_of(record.levelno), text, record.name) and sys.stderr:
                    sys.stderr.write(f"{text}\n")
            except Exception:
                self.handleError(record)

    return Handler()


def level_of(number: int) -> str:
    """Return the name of the highest level that a record of level *number* reaches."""
    if number < 10:
        return "TRACE"
    return ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")[min(number // 10, 5) - 1]


def _prepare_warnings(warnings: Any) -> None:
    print_warning = warnings.showwarning

    def show(
        message: Any,
        category: Any,
        filename: str,
        lineno: int,
        file: Any = None,
        line: Any = None,
    ) -> None:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        if file is not None or not write("WARNING", text.rstrip("\n"), WARNINGS):
            print_warning(message, category, filename, lineno, file, line)

    # It is there to be replaced.
    warnings.showwarning = show


_PREPARE: dict[str, Callable[[Any], None]] = {
    "logging": _prepare_logging,
    "warnings": _prepare_warnings,
}


class _Finder:
    """Finds the modules that are set up, as Python does."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        prepare = _PREPARE.get(name)
        spec = None if prepare is None else PathFinder.find_spec(name, path)
        if prepare is not None and spec is not None:
            # It has the methods of a loader that are needed.
            spec.loader = _Loader(spec.loader, prepare)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loads a module as its own loader does, and sets it up afterwards."""

    def __init__(self, loader: Any, prepare: Callable[[Any], None]) -> None:
        self._loader = loader
        self._prepare = prepare

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._prepare(module)
