"""Runs of laws on one host and one kind of environment, and what they say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pytest
from matrix_kinds import KINDS
from matrix_places import PLACES, Place

from fal_testing.harness.promises import Promise, PromiseRecorder
from fal_testing.suite import GROUPS

T = TypeVar("T")

LAWS = Path(__file__).with_name("matrix_laws.py")

#: What a host may offer for functions of a kind: a column of the table, and the law that is
#: run where not all are.
CAPABILITIES: Mapping[str, str] = {
    "calls": "test_a_result_comes_back",
    "buffers": "test_large_buffers_travel_both_ways",
    "errors": "test_an_error_arrives_as_itself",
    "lines": "test_lines_arrive_before_the_result",
    "setup": "test_the_result_of_the_setup_is_the_first_argument",
    "`submit`": "test_a_callback_may_make_calls",
    "`map`": "test_a_map_gives_errors_where_they_are_wanted",
    "async": "test_an_async_function_is_awaited",
    "cancel": "test_a_cancelled_call_ends",
    "crashes": "test_a_worker_that_exits_is_lost",
    "streams": "test_every_item_of_a_stream_arrives_in_order",
    "home calls": "test_a_function_of_another_place_is_called_at_home",
    "warm workers": "test_a_worker_takes_more_than_one_call",
    "multiplexing": "test_calls_of_one_worker_run_at_once",
    "secrets": "test_a_function_has_the_secrets_it_names",
    "services": "test_a_served_function_answers_at_its_url",
    "detached": "test_detached_work_gives_its_result",
}

#: What a host cannot offer for a kind, though it claims it for others: the Python of a Ray
#: cluster has no server, and a container there has a network of its own.
EXCEPT: Mapping[tuple[str, str], frozenset[str]] = {
    ("ray", "current"): frozenset({"services"}),
    ("ray", "container"): frozenset({"services"}),
}

#: The options of the runs: what a law prints is shown where it is broken.
_OPTIONS = (
    *("-q", "--tb=short", "--no-header", "--no-summary", "-p", "no:cacheprovider"),
    *("-p", "no:threadexception", "-p", "no:unraisableexception"),
)


@attrs.frozen(kw_only=True)
class Cell:
    """A host, and a kind of environment with the options that it needs."""

    place: Place
    kind: str
    options: Mapping[str, Any]

    def is_offered(self) -> bool:
        """Whether the host says that it runs the kind."""
        kinds = self.place.host.capabilities.kinds
        return kinds is None or self.kind in kinds

    def run(self, laws: Iterable[str] | None = None) -> list[Promise]:
        """Run *laws*, or all of them, and return which of their promises are kept."""
        recorder = PromiseRecorder(GROUPS)
        nodes = [str(LAWS)] if laws is None else [f"{LAWS}::{law}" for law in laws]
        # A law ends by itself: its threads are shown only where it has not.
        hung = f"faulthandler_timeout={3 * self.place.law_timeout:g}"
        plugins = [_Registers(self), recorder]
        pytest.main([*_OPTIONS, "-o", hung, *nodes], plugins=plugins)
        return recorder.promises


class _Registers:
    """A plugin of pytest that hands a cell to the laws."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(self._cell, "matrix cell")


class Matrix:
    """
    The hosts and the kinds, each made as it is first asked for. Tests of what cannot be made
    here are skipped, each with the reason, and those of the others run.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._places: dict[str, Place] = {}
        self._options: dict[str, Mapping[str, Any]] = {}
        self._missing: dict[str, str] = {}

    def options(self, kind: str) -> Mapping[str, Any]:
        """Return the options of a *kind*."""
        if kind not in self._options:
            self._options[kind] = self._make(kind, KINDS[kind])
        return self._options[kind]

    def place(self, host: str) -> Place:
        """Return a host by its name."""
        if host not in self._places:
            # The processes of a host see what leads to the parts of all kinds that are here.
            for kind in KINDS:
                with suppress(pytest.skip.Exception):
                    self.options(kind)
            self._places[host] = self._make(host, PLACES[host])
        return self._places[host]

    def cell(self, host: str, kind: str) -> Cell:
        """Return a host with a kind."""
        place = self.place(host)
        return Cell(place=place, kind=kind, options=self.options(kind))

    def _make(self, name: str, enter: Callable[[Path], AbstractContextManager[T]]) -> T:
        if name in self._missing:
            pytest.skip(self._missing[name])
        folder = self._folder / name
        folder.mkdir()
        try:
            return self._stack.enter_context(enter(folder))
        except pytest.skip.Exception as skipped:
            # It is not tried again: parts of it are made already.
            self._missing[name] = str(skipped)
            raise


def offers(promises: Sequence[Promise]) -> dict[str, bool]:
    """
    Return whether each capability is offered, whose law is among *promises*.

    Raises:
        AssertionError: A law is broken, or was not checked, so that nobody knows.
    """
    ends = {promise.law: promise for promise in promises}
    found = {name: ends[law] for name, law in CAPABILITIES.items() if law in ends}
    unknown = [each for each in found.values() if each.kept in ("broken", "not checked")]
    assert not unknown, "\n".join(f"{each.law}, {each.kept}: {each.why}" for each in unknown)
    return {name: each.kept == "kept" for name, each in found.items()}
