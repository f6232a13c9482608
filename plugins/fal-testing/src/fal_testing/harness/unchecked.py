"""
A plugin of pytest that tells at the end of a run which laws were not checked.

The files that import the laws have pytest load it.
"""

from __future__ import annotations

from typing import Any

import pytest

from fal_testing.harness.promises import MISSING, PromiseRecorder, warning_of

#: Where the laws are.
_LAWS = "fal_testing.laws."
#: Their names, each once.
_UNCHECKED = pytest.StashKey[dict[str, None]]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: Any, call: pytest.CallInfo[Any]) -> None:
    """Note a law that is skipped, and not because the host claims nothing of it."""
    if call.excinfo is None or not isinstance(call.excinfo.value, pytest.skip.Exception):
        return
    law = getattr(item, "function", None)
    is_law = getattr(law, "__module__", "").startswith(_LAWS)
    if is_law and MISSING not in dict(item.user_properties):
        item.config.stash.setdefault(_UNCHECKED, {})[item.originalname or item.name] = None


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Warn of them, unless a table of promises is to follow."""
    # Plugins need not be hashable.
    named = config.pluginmanager.list_name_plugin()
    if any(isinstance(plugin, PromiseRecorder) for _, plugin in named):
        return
    warning = warning_of([*config.stash.get(_UNCHECKED, {})])
    if warning:
        terminalreporter.write_line(f"Warning: {warning}", yellow=True)
