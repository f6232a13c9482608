"""
Blocks of imports that are made at their first use: ``with imports():``.

A block must not import what it names, and no other import may notice. There is no hook for the
imports of one block: ``builtins.__import__`` is one for the whole interpreter, and replacing it
for a moment is a patch that every thread would run through; a finder that hands out stand-ins
has to leave them in ``sys.modules``, where other threads would find them.

So a block is not run, it is read. When it is entered, its import statements are read from the
code of the frame. While it runs, a finder stands first in ``sys.meta_path``, which Python has
for this, and ends the block: at the first import that is written in the block itself, on its
thread, of a module that is not loaded, it raises an exception, which the block takes back as it
is left. Then the names of that import and of all that follow it are bound to references.
Nothing is ever put into ``sys.modules``, every other import passes by, and imports before that
one were of modules that are loaded anyway, so that they are the real ones at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from threading import get_ident

from fal_core_worker.importing.references import OPTIMIZED, Explain, refer
from fal_core_worker.importing.statements import Binding, Refused, read_block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import CodeType, FrameType, TracebackType
    from typing import Any


class _Left(BaseException):
    """A block is left at an import. Nothing but the block handles it."""


class Block:
    """
    What ``with`` enters for imports that are made at their first use.

    Arguments:
        explain: Says where a module is that is not here.
    """

    __slots__ = ("_bindings", "_explain", "_finder")

    def __init__(self, explain: Explain | None = None) -> None:
        self._explain = explain
        self._finder: _Finder | None = None
        self._bindings: list[Binding] = []

    def __enter__(self) -> None:
        __tracebackhide__ = True
        frame = sys._getframe(1)
        code = frame.f_code
        if code.co_flags & OPTIMIZED:
            raise _refusal(
                code,
                frame.f_lineno,
                "`with imports():` is for the top of a file. In a function, import as usual: "
                "that is done when it runs.",
            )
        try:
            self._bindings = read_block(code, frame.f_lasti, _package(frame.f_globals))
        except Refused as refused:
            raise _refusal(code, refused.line or frame.f_lineno, str(refused)) from None
        self._finder = _Finder(frame)
        sys.meta_path.insert(0, self._finder)

    # It does take back an exception. Declared as that, type checkers would hold that the
    # names of the block may be unbound after it.
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> object:
        finder, self._finder = self._finder, None
        assert finder is not None
        sys.meta_path.remove(finder)
        left = finder.left
        if left is None or error is not left:
            return None
        assert trace is not None
        space = trace.tb_frame.f_locals
        for binding in self._bindings:
            if binding.offset >= trace.tb_lasti:
                _bind(binding, space, self._explain)
        # Its frames would keep what the file has until the next collection.
        finder.left = None
        left.__traceback__ = None
        return True


class _Finder:
    """Finds nothing, and leaves a block at its own first import."""

    def __init__(self, frame: FrameType) -> None:
        self._frame = frame
        self._thread = get_ident()
        self.left: _Left | None = None

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        if get_ident() == self._thread and _importing() is self._frame:
            self.left = _Left()
            raise self.left
        return None


def _importing() -> FrameType | None:
    """Return the frame of the code that imports."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame


def _bind(binding: Binding, space: dict[str, Any], explain: Explain | None) -> None:
    module, below, member = binding.parts
    value: Any = None
    if all(each in sys.modules for each in (module, *below)):
        # It is loaded. A package may have a way of its own to make what it has not yet.
        value = sys.modules[module]
        if member is not None:
            value = vars(value).get(member)
    if value is None:
        value = refer(binding.parts, binding.name, space, explain)
    space[binding.name] = value


def _package(space: dict[str, Any]) -> str:
    package = space.get("__package__")
    if package is None:
        name = str(space.get("__name__", ""))
        package = name if "__path__" in space else name.rpartition(".")[0]
    return str(package)


def _refusal(code: CodeType, line: int, sentence: str) -> SyntaxError:
    import linecache

    text = linecache.getline(code.co_filename, line)
    return SyntaxError(sentence, (code.co_filename, line, None, text or None))
