"""Promises: how each law ended on a host, in the words of the laws."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Literal

import attrs
import pytest

from fal_testing.harness.expectations import advice_for

Kept = Literal["kept", "broken", "not claimed", "not checked"]

#: How many laws that were not checked a sentence names.
_NAMED = 6

#: The key of what a law needs and its host does not declare, in the properties of a report.
MISSING = "missing capabilities"


@attrs.frozen(kw_only=True)
class Promise:
    """
    What one law promises to callers of a host, and whether this host keeps it.

    Attributes:
        group: The group of the law, as in ``logs``.

        law: The name of its test.

        text: The promise: the first sentence of the law.

        kept: Whether it is kept. A promise that is not claimed needs a capability that the
            host does not declare; one that is not checked needs something else.

        why: What was expected and found, or what is missing; empty for a kept one.
    """

    group: str
    law: str
    text: str
    kept: Kept
    why: str = ""


class PromiseRecorder:
    """
    A pytest plugin that keeps how each law ended.

    A law with parameters is one promise, which is broken if it is broken for any of them.

    Arguments:
        groups: The modules of the laws, by group.

        tells: Whether it prints what is broken as soon as that is known.

        stops: Whether it ends the tests after the first group, if it ran whole and no law of
            it is kept.

    Attributes:
        stopped: The group after which it has ended the tests; empty if it has not.
    """

    def __init__(
        self, groups: Mapping[str, ModuleType], *, tells: bool = False, stops: bool = False
    ) -> None:
        self._groups = {module.__name__: name for name, module in groups.items()}
        self._first = next(iter(groups.items()))
        self._tells = tells
        self._stops = stops
        self._left: set[str] = set()
        self._laws: dict[str, Any] = {}
        self._ends: dict[str, list[tuple[Kept, str]]] = {}
        self.stopped: str = ""

    @property
    def promises(self) -> list[Promise]:
        """The promises of the laws that have run, by group."""
        found = [self._promise(name, ends) for name, ends in self._ends.items()]
        order = [*self._groups.values(), ""]
        return sorted(found, key=lambda promise: order.index(promise.group))

    def _promise(self, name: str, ends: Iterable[tuple[Kept, str]]) -> Promise:
        law = self._laws[name]
        order: list[Kept] = ["broken", "kept", "not claimed", "not checked"]
        kept, why = min(ends, key=lambda end: order.index(end[0]))
        return Promise(
            group=self._groups.get(law.__module__, ""),
            law=name,
            text=first_sentence(inspect.getdoc(law) or name),
            kept=kept,
            why=why,
        )

    @property
    def unchecked(self) -> list[str]:
        """
        The names of the laws that were not checked, for want of something that the tests of
        the host, or its machine, have to provide.
        """
        return [each.law for each in self.promises if each.kept == "not checked"]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: Any, call: pytest.CallInfo[Any]) -> None:
        """Note how a law has ended; the report is made by pytest."""
        name = getattr(item, "originalname", None) or item.name
        if call.excinfo is None:
            if call.when == "call":
                self._note(item, name, "kept", "")
            return
        error = call.excinfo.value
        if not isinstance(error, pytest.skip.Exception):
            why = sentence_of(error, hint_of(item.function))
            self._note(item, name, "broken", why)
            terminal = item.config.pluginmanager.get_plugin("terminalreporter")
            if self._tells and terminal is not None:
                terminal.ensure_newline()
                terminal.write_line(f"{name}: {why}")
            return
        missing = dict(item.user_properties).get(MISSING)
        if missing is not None:
            self._note(item, name, "not claimed", f"It needs {', '.join(missing)}.")
        else:
            self._note(item, name, "not checked", str(error.msg))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note which laws of the first group will run, if that is all of them."""
        _, module = self._first
        items = [item for item in session.items if _law_of(item).__module__ == module.__name__]
        laws = {name for name in vars(module) if name.startswith("test_")}
        if self._stops and laws == {_law_of(item).__name__ for item in items}:
            self._left = {item.nodeid for item in items}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Note that a law has run."""
        self._left.discard(nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """End the tests after *item*, if it was the last of a first group that is all broken."""
        was_left = item.nodeid in self._left
        result = yield
        group, _ = self._first
        if was_left and not self._left:
            ends = {promise.kept for promise in self.promises if promise.group == group}
            if "broken" in ends and "kept" not in ends:
                self.stopped = group
                item.session.shouldstop = f"no law of the group {group!r} is kept"
        return result

    def _note(self, item: Any, name: str, kept: Kept, why: str) -> None:
        self._laws[name] = item.function
        self._ends.setdefault(name, []).append((kept, why))


def _law_of(item: pytest.Item) -> Any:
    """Return the function of a law; the item itself where there is none."""
    return getattr(item, "function", type(item))


def first_sentence(text: str) -> str:
    """Return the first sentence of *text*, in one line and without marks for literals."""
    return " ".join(text.replace("``", "`").split()).partition(". ")[0].rstrip(".") + "."


def sentence_of(error: BaseException, hint: str = "") -> str:
    """
    Return what *error* says, without what pytest adds to an assertion; an error that no law
    has raised is followed by *hint*, or by what to do about an error of the host itself.
    """
    # The values that pytest adds are shown above the table.
    said = str(error).partition("\nassert ")[0].partition("\n  ")[0]
    said = " ".join(said.split())
    if isinstance(error, AssertionError | pytest.fail.Exception) and said:
        return said
    said = f": {said.removesuffix('.')}" if said else ""
    told = f"{type(error).__name__} was raised where none was expected{said}."
    return f"{told} {advice_for(error, hint)}".rstrip()


def hint_of(law: Any) -> str:
    """
    Return what the author of a host should look at first where *law* is broken.

    It is what the module of the law says in LOOK; empty where it says nothing.
    """
    return str(getattr(sys.modules[law.__module__], "LOOK", ""))


def rows_of(promises: Sequence[Promise]) -> list[tuple[str, str, str]]:
    """
    Return the rows of a table of *promises*: whether each is kept, its group, and its text.

    Below a promise that is not kept, a row says why.
    """
    rows: list[tuple[str, str, str]] = []
    for promise in promises:
        rows.append((promise.kept, promise.group, promise.text))
        if promise.kept == "broken":
            rows.append(("", "", f"  {promise.law}: {promise.why}"))
        elif promise.why:
            rows.append(("", "", f"  {promise.why}"))
    return rows


def count_of(promises: Sequence[Promise]) -> str:
    """Return how many of *promises* are kept, broken and so on, as one sentence."""
    counts = Counter(promise.kept for promise in promises)
    words = [f"{counts['kept']} kept", f"{counts['broken']} broken"]
    words += [
        f"{counts[kept]} {kept}" for kept in ("not claimed", "not checked") if counts[kept]
    ]
    return f"Promises: {', '.join(words)}."


def warning_of(laws: Sequence[str]) -> str:
    """Return which *laws* were not checked, as one sentence; empty where there are none."""
    if not laws:
        return ""
    listed = ", ".join(laws[:_NAMED])
    if len(laws) > _NAMED:
        listed += f" and {len(laws) - _NAMED} more"
    what = "1 law was" if len(laws) == 1 else f"{len(laws)} laws were"
    return f"{what} not checked, so nobody knows whether the host keeps them: {listed}."
