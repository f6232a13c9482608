"""Running laws on a host, and learning which of them it breaks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

LAWS = Path(__file__).with_name("laws.py")

#: What broken hosts do in other threads is no matter of the test that runs them.
_OPTIONS = (
    "-q",
    *("-p", "no:cacheprovider", "-p", "no:threadexception", "-p", "no:unraisableexception"),
    *("--tb=line", "--no-header", "--no-summary"),
)


class LawRunner:
    """
    A pytest plugin that hands a host, or a kind of environment, to the laws, and keeps how
    each of them ended.

    A law with parameters is one law: if it fails for some of them alone, it has "failed in
    part".
    """

    def __init__(self, subject: Any) -> None:
        self.subject = subject
        self.collected: list[str] = []
        self._ends: dict[str, str] = {}

    @property
    def outcomes(self) -> dict[str, str]:
        ended: dict[str, set[str]] = {}
        for name, end in self._ends.items():
            ended.setdefault(name.partition("[")[0], set()).add(end)
        return {
            law: ends.pop() if len(ends) == 1 else "failed in part"
            for law, ends in ended.items()
        }

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.collected = list(dict.fromkeys(item.name.partition("[")[0] for item in items))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.rpartition("::")[2]
        if report.outcome != "passed" or report.when == "call":
            self._ends.setdefault(name, report.outcome)
            if report.failed:
                self._ends[name] = "failed"


def run_laws(
    subject: Any,
    laws: Iterable[str] | None = None,
    *,
    path: Path = LAWS,
    plugins: Iterable[object] = (),
) -> dict[str, str]:
    """
    Return how each of *laws*, or of all, ends on *subject*, a host or a kind of environment:
    passed, failed, failed in part or skipped.

    Arguments:
        path: The file that imports them.

        plugins: Further plugins of pytest.
    """
    runner = LawRunner(subject)
    nodes = [str(path)] if laws is None else [f"{path}::{law}" for law in laws]
    pytest.main([*_OPTIONS, *nodes], plugins=[_named(runner), *plugins])
    return runner.outcomes


def collect_laws(path: Path = LAWS) -> list[str]:
    """Return the names of all laws that the file *path* imports."""
    runner = LawRunner(None)
    pytest.main([*_OPTIONS, "--collect-only", str(path)], plugins=[_named(runner)])
    return runner.collected


def _named(runner: LawRunner) -> Any:
    class Registers:
        def pytest_configure(self, config: pytest.Config) -> None:
            config.pluginmanager.register(runner, "law runner")

    return Registers()
