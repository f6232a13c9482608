"""
Deferrals: what other packages do as they are imported, put off until it is used.

Much of what FastAPI and uvicorn do then serves documents, a command line and an older
pydantic: a fifth of the time that a service takes to start. So the modules at fault are
executed with a part of them left for later, which whoever asks for it still finds there.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType
from typing import Any

_Execute = Callable[[ModuleType], None]


def install() -> None:
    """
    Put off what modules do that are not imported yet.
    """
    if DeferralFinder not in sys.meta_path:
        sys.meta_path.insert(0, DeferralFinder)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """
    Leave garbage where it is while modules are loaded, which make next to none.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class DeferralFinder:
    """
    Finds the modules whose execution is another.
    """

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """
        Return the spec of *name*, or None where it is for others to find.
        """
        execute = _EXECUTED.get(name)
        if execute is None:
            return None
        spec = PathFinder.find_spec(name, path, target)
        loader: Any = spec and spec.loader
        if loader is not None:
            loader.exec_module = functools.partial(execute, loader.exec_module)
        return spec


def _build_models_later(execute: _Execute, module: ModuleType) -> None:
    """
    Leave each model to pydantic until something is made of it, or read by it.
    """
    from pydantic import BaseModel

    base: Any = BaseModel
    config, rebuild = base.model_config, vars(base)["model_rebuild"]

    def rebuild_others(cls: Any, /, **options: Any) -> bool | None:
        if sys._getframe(1).f_globals is not vars(module):
            return rebuild.__get__(None, cls)(**options)  # type: ignore[no-any-return]

        def build_first(heir: Any, /, **keywords: Any) -> None:
            # An heir in another module would not find what fields are written with.
            if not cls.__pydantic_complete__:
                cls.model_rebuild()
            super(cls, heir).__init_subclass__(**keywords)

        cls.__init_subclass__ = classmethod(build_first)
        return None

    base.model_config = {**config, "defer_build": True}
    base.model_rebuild = classmethod(rebuild_others)
    try:
        execute(module)
    finally:
        base.model_config = config
        base.model_rebuild = rebuild
    for model in vars(module).values():
        if isinstance(model, type) and issubclass(model, BaseModel):
            # What inherits from it is built at once, as it says.
            model.model_config.pop("defer_build", None)


def _know_older_models(execute: _Execute, module: ModuleType) -> None:
    """
    Ask whether something is a model of pydantic 1 only once there can be one.
    """
    execute(module)
    for name in ("is_pydantic_v1_model_class", "is_pydantic_v1_model_instance"):
        ask = getattr(module, name, None)
        if isinstance(ask, FunctionType):
            setattr(module, name, _where_imported("pydantic.v1", ask))


def _where_imported(name: str, ask: Callable[[Any], bool]) -> Callable[[Any], bool]:
    @functools.wraps(ask)
    def answer(value: Any) -> bool:
        return name in sys.modules and ask(value)

    return answer


def _need_no_command_line(execute: _Execute, module: ModuleType) -> None:
    """
    Give uvicorn its server at once, and its command line when somebody asks for that.
    """
    import uvicorn
    from uvicorn.server import Server

    lock = threading.RLock()

    def load() -> ModuleType:
        with lock:
            if "__getattr__" in vars(module):
                execute(module)
                # They were taken from the module before.
                uvicorn.main, uvicorn.run = module.main, module.run
                del module.__getattr__
            return module

    def run(*args: Any, **options: Any) -> Any:
        return load().run(*args, **options)

    def main(*args: Any, **options: Any) -> Any:
        return load().main(*args, **options)

    def find(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        return getattr(load(), name)

    vars(module).update(Server=Server, run=run, main=main, __getattr__=find)


_EXECUTED: dict[str, Callable[[_Execute, ModuleType], None]] = {
    "fastapi._compat.shared": _know_older_models,
    "fastapi.openapi.models": _build_models_later,
    "uvicorn.main": _need_no_command_line,
}
