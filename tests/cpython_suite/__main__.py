"""
Run CPython's tests of executors with :class:`fal_core.Executor`, but for those of the table.

They are those of the running Python, which must have them: Debian has them in
``libpython3.13-testsuite``. Arguments are parts of the names of tests to run.
"""

from __future__ import annotations

import csv
import faulthandler
import importlib.util
import sys
import unittest
from pathlib import Path
from typing import Any

from cpython_suite.tested import FileEvent, TestedExecutor

TESTS = "test.test_concurrent_futures"
MODULES = ("executor", "test_wait", "test_as_completed", "test_future", "test_init")
MODULES = (*MODULES, "test_shutdown")
TABLE = Path(__file__).with_name("left_out.csv")

#: Seconds that all of them may take.
PATIENCE = 1500

#: Classes that are made for each kind of executor from the others.
MADE = ("ThreadPool", "ProcessPool")


def main(arguments: list[str]) -> int:
    """Run the tests and return how the process is to exit."""
    if importlib.util.find_spec(TESTS) is None:
        print(
            f"This Python has no {TESTS}. Install libpython3.13-testsuite, or a Python that "
            "comes with its tests."
        )
        return 2
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    modules = {name: importlib.import_module(f"{TESTS}.{name}") for name in MODULES}
    known = {
        f"{name}.{each.__name__}.{test}"
        for name, module in modules.items()
        for each in classes_of(module)
        for test in tests_of(each)
    }
    with TABLE.open(encoding="utf-8", newline="") as file:
        left_out = {row["test"]: row["reason"] for row in csv.DictReader(file)}
    if stale := sorted(set(left_out) - known):
        print("The table leaves out what is not there:", *stale)
        return 2
    adapt(modules)
    suite = unittest.TestSuite(
        case
        for name, module in modules.items()
        for each in classes_of(module)
        for case in cases_of(name, each, modules["test_shutdown"])
        if case.id() not in left_out and any(part in case.id() for part in arguments or [""])
    )
    count = suite.countTestCases()
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    failed = len(result.failures) + len(result.errors)
    print(
        f"CPython {sys.version.split()[0]}: {failed} of {count} tests of executors fail with "
        f"fal_core.Executor; {len(left_out)} are left out."
    )
    return 0 if result.wasSuccessful() and count else 1


def classes_of(module: Any) -> list[type]:
    """Return the classes of *module* that have tests, but for those made of others of them."""
    found = []
    for each in vars(module).values():
        if isinstance(each, type) and each.__module__ == module.__name__ and tests_of(each):
            found.append(each)
    return found


def tests_of(cls: type) -> list[str]:
    """Return the names of the tests that *cls* itself has."""
    return [name for name in vars(cls) if name.startswith("test_")]


def cases_of(module: str, cls: type, shutdown: Any) -> list[unittest.TestCase]:
    """Return the tests of *cls* as cases of an executor of fal_core."""
    from test.test_concurrent_futures.util import BaseTestCase, ExecutorMixin

    class Tested(ExecutorMixin):
        executor_type = TestedExecutor

        def create_event(self) -> FileEvent:
            return FileEvent()

    if issubclass(cls, unittest.TestCase) and not issubclass(cls, ExecutorMixin):
        bases: tuple[type, ...] = (cls,)
    else:
        own = {name: vars(cls)[name] for name in tests_of(cls)}
        if issubclass(cls, ExecutorMixin) and not issubclass(cls, unittest.TestCase):
            bases = (type("Case", (cls, Tested), {}), BaseTestCase)
        else:
            # What the tests for one kind of executor do goes for this one too.
            bases = (type("Case", (Tested,), own), BaseTestCase)
    made = type(cls.__name__, bases, {})

    class Case(made):  # type: ignore[misc, valid-type]  # made for each class
        def id(self) -> str:
            return f"{module}.{cls.__name__}.{self._testMethodName}"

        __str__ = id

    return [Case(name) for name in tests_of(cls)]


def adapt(modules: dict[str, Any]) -> None:
    """Let programs of the tests import the tested executor, and futures be its futures."""
    from fal_core.executors.pooled_calls import Future

    run = modules["test_shutdown"].assert_python_ok
    imported = "from concurrent.futures import "
    path = str(Path(__file__).resolve().parents[1])

    def run_adapted(option: str, program: str) -> Any:
        begin, _, rest = program.partition(imported)
        name, _, rest = rest.partition("\n")
        indent = begin.rpartition("\n")[2]
        lines = (
            f"import sys; sys.path.insert(0, {path!r})",
            f"from cpython_suite.tested import TestedExecutor as {name}",
        )
        return run(option, begin + f"\n{indent}".join(lines) + "\n" + rest)

    modules["test_shutdown"].assert_python_ok = run_adapted
    from test.test_concurrent_futures import util

    util.Future = modules["test_future"].Future = Future
    make, states = util.create_future, util
    for name, future in {
        "PENDING_FUTURE": make(state=states.PENDING),
        "RUNNING_FUTURE": make(state=states.RUNNING),
        "CANCELLED_FUTURE": make(state=states.CANCELLED),
        "CANCELLED_AND_NOTIFIED_FUTURE": make(state=states.CANCELLED_AND_NOTIFIED),
        "EXCEPTION_FUTURE": make(state=states.FINISHED, exception=OSError()),
        "SUCCESSFUL_FUTURE": make(state=states.FINISHED, result=42),
    }.items():
        for module in modules.values():
            if hasattr(module, name):
                setattr(module, name, future)


sys.exit(main(sys.argv[1:]))
