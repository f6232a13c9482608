"""Hook calls: each plugin is asked by itself, so that one that fails hurts none of the others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pluggy

from fal_core.errors import FalCoreError, PluginError
from fal_core.reprs import in_one_line

#: Calls a hook of one plugin with the arguments of its specification.
Ask = Callable[..., Any]

logger: logging.Logger = logging.getLogger("fal_core.plugins")


@attrs.define(eq=False)
class HookCalls:
    """Calls the hooks of all plugins, one plugin at a time."""

    _manager: pluggy.PluginManager
    _asks: dict[str, tuple[tuple[str, Ask], ...]] = attrs.field(factory=dict, init=False)
    _told: set[tuple[str, str]] = attrs.field(factory=set, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def each(self, hook: str) -> tuple[tuple[str, Ask], ...]:
        """
        Return the names of the plugins that answer *hook*, and what asks each, in the order
        in which they were loaded.
        """
        if hook not in self._asks:
            self._asks[hook] = tuple(self._make(hook))
        return self._asks[hook]

    def observe(self, hook: str, **facts: Any) -> None:
        """Tell all plugins. What one of them raises is logged, and changes nothing."""
        for plugin, ask in self.each(hook):
            try:
                ask(**facts)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._log(plugin, hook, error)

    def collect(
        self, hook: str, *, passing: type[Exception] | tuple[()] = (), **facts: Any
    ) -> Iterator[Any]:
        """
        Yield what each plugin answers. What one of them raises is logged: it has no answer.

        Arguments:
            passing: Errors that are the user's own, and are raised.
        """
        for plugin, ask in self.each(hook):
            try:
                answers = [each for answer in ask(**facts) for each in answer]
            except passing:
                raise
            except Exception as error:
                self._log(plugin, hook, error)
            else:
                yield from answers

    def resolve(self, hook: str, **facts: Any) -> Any:
        """
        Return the first answer that is not None; None if no plugin has one. As pluggy has it,
        the plugin that was loaded last is asked first.

        Raises:
            PluginError: No plugin has one, and one of them failed.

            FalCoreError: A plugin says so.
        """
        failed: PluginError | None = None
        for plugin, ask in reversed(self.each(hook)):
            try:
                answer = ask(**facts)
            except FalCoreError:
                raise
            except Exception as error:
                self._log(plugin, hook, error)
                if failed is None:
                    failed = PluginError(plugin, f"its hook {hook} raised {_named(error)}.")
                    failed.__cause__ = error
            else:
                if answer is not None:
                    return answer
        if failed is not None:
            raise failed
        return None

    def _make(self, hook: str) -> Iterator[tuple[str, Ask]]:
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        answering = {each.plugin_name: each.plugin for each in implementations}
        for name, plugin in answering.items():
            others = [other for other in answering.values() if other is not plugin]
            yield name, self._manager.subset_hook_caller(hook, others)

    def _log(self, plugin: str, hook: str, error: BaseException) -> None:
        """Log what *plugin* has raised, once for each of its hooks."""
        with self._lock:
            if (plugin, hook) in self._told:
                return
            self._told.add((plugin, hook))
        where = _place_of(error)
        logger.error(
            "Plugin %r: its hook %s raised %s%s. The call goes on as without it, and this is "
            "said once.",
            plugin,
            hook,
            _named(error),
            where,
        )


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {in_one_line(error)}".removesuffix(".")


def _place_of(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"
