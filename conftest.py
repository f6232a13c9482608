"""The code blocks of the documentation are tests; those of one page are one program."""

from __future__ import annotations

import faulthandler
import functools
import gc
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent

#: Seconds from the end of the tests to that of their process.
ENDING = 60

#: When this process began, for the option ``--minutes``.
_BEGUN = time.time()

#: Options that are told by variables too. These are taken away: runs inside of tests go on to
#: their end, with all of their files.
_TOLD = {
    "share": "FAL_CORE_SHARE",
    "changed_since": "FAL_CORE_CHANGED_SINCE",
    "until": "FAL_CORE_UNTIL",
}

# The laws are tested by runs inside of tests, each with a copy of this module. The
# variable has the process whose run is the outermost.
_VARIABLE = "FAL_CORE_TESTS_OF"
_is_outermost = os.environ.get(_VARIABLE) != str(os.getpid())
os.environ[_VARIABLE] = str(os.getpid())


def pytest_configure(config: pytest.Config) -> None:
    """
    Have the programs of tests hear Ctrl-C and Ctrl-\\, also where a shell started all this
    aside: they would ignore what this process does. One of several processes is told what the
    first one was.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGQUIT") and signal.getsignal(signal.SIGQUIT) == signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    vars(config.option).update(getattr(config, "workerinput", {}).get("told", {}))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process that shares the tests what this one was told."""
    node.workerinput["told"] = {name: getattr(node.config.option, name) for name in _TOLD}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose among the tests."""
    group = parser.getgroup("proof", "the two proofs of this repository")
    group.addoption(
        "--proof",
        choices=("short", "rest", "whole"),
        default="whole",
        help="Take the tests of the short proof, those that it leaves out, or all.",
    )
    told = {name: os.environ.pop(variable, None) for name, variable in _TOLD.items()}
    group.addoption(
        "--share",
        metavar="NUMBER/COUNT",
        default=told["share"],
        help="Take the test files of one of so many shares, counted from 0.",
    )
    group.addoption(
        "--changed-since",
        metavar="REVISION",
        default=told["changed_since"],
        help="Beside the share, take the files that test what has changed.",
    )
    group.addoption(
        "--minutes",
        type=float,
        help="Skip the tests that have not begun after so many minutes.",
    )
    group.addoption(
        "--until",
        type=float,
        default=told["until"] or "inf",
        metavar="SECONDS",
        help="Skip the tests that have not begun at this time, in seconds since the epoch.",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """
    Read no file of which the short proof has nothing.

    Of a share, read its files and those that test what has changed.
    """
    if not _is_ours(collection_path):
        return None
    file = str(collection_path.relative_to(ROOT))
    is_short = config.option.proof == "short"
    if is_short and not _proof("belonging").read_table().may_be_short(file):
        return True
    number, _, count = (config.option.share or "0/1").partition("/")
    is_others = zlib.crc32(file.encode()) % int(count) != int(number)
    return True if is_others and collection_path not in _changed_files(config) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """
    Look for no garbage meanwhile: nearly all that is made stays, and would be looked through
    again each time that it has grown by a quarter.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return (yield)
    finally:
        if was_enabled:
            gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Take the tests of the proof that is asked for, and begin with those of the longest files.

    Where ``FAL_CORE_ORDER`` is set, to any text, take all files in an order that depends on
    it alone.
    """
    changed = _changed_files(config)
    left = [each for each in items if _is_left_out(each)]
    if left:
        config.hook.pytest_deselected(items=left)
        gone = set(left)
        items[:] = [each for each in items if each not in gone]
    if order := os.environ.get("FAL_CORE_ORDER"):
        items.sort(key=lambda item: zlib.crc32(f"{order} {item.path}".encode()))
    elif "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: (item.path not in changed, _place_of(item)))


@functools.cache
def _is_ours(path: Path) -> bool:
    # Runs inside of tests have other files.
    return path.name.startswith("test_") and path.is_relative_to(ROOT)


@functools.cache
def _proof(name: str) -> Any:
    """Return a module of the package ``tests/proof``."""
    sys.path.insert(0, str(ROOT / "tests"))
    try:
        return importlib.import_module(f"proof.{name}")
    finally:
        sys.path.remove(str(ROOT / "tests"))


def _place_of(item: pytest.Item) -> int:
    """
    Return how early a test is begun: the matrix has the longest of all tests, and scenarios
    the longest files, so that none is left to one process while the others have nothing to do.
    """
    parts = item.path.parts
    return 0 if "matrix" in parts else 1 if "together" in parts else 2


def _changed_files(config: pytest.Config) -> frozenset[Path]:
    revision = config.option.changed_since
    return _proof("changes").find_tests(revision) if revision else frozenset()


def _is_left_out(item: pytest.Item) -> bool:
    proof = item.config.option.proof
    if not _is_ours(item.path):
        return proof == "rest" and item.path.is_relative_to(ROOT)
    return proof != "whole" and _is_in_short(item) is (proof == "rest")


def _is_in_short(item: pytest.Item) -> bool:
    # Cases of a sweep, as of the oldest clients, are left to the whole proof one by one.
    callspec = getattr(item, "callspec", None)
    if any(mark.name == "faults" for mark in getattr(callspec, "marks", ())):
        return False
    function = getattr(item, "originalname", None) or item.name
    is_fault = item.get_closest_marker("faults") is not None
    return _is_function_in_short(item.path, function, is_fault)


@functools.cache
def _is_function_in_short(path: Path, function: str, is_fault: bool) -> bool:
    table = _proof("belonging").read_table()
    found: bool = table.is_short(str(path.relative_to(ROOT)), function, is_fault=is_fault)
    return found


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test where the minutes of the run are over."""
    minutes, until = item.config.option.minutes, item.config.option.until
    if time.time() > min(until, _BEGUN + 60 * minutes if minutes is not None else until):
        pytest.skip("The minutes of this run are over.")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a share pass that has no tests."""
    if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.option.share:
        session.exitstatus = pytest.ExitCode.OK


@pytest.fixture(scope="session")
def check_all() -> Callable[[Callable[[Any], None], Iterable[Any]], None]:
    """Check each row of a table with a function, and fail with all rows that it fails for."""

    def check_all(check: Callable[[Any], None], rows: Iterable[Any]) -> None:
        rows, failures = list(rows), []
        for row in rows:
            try:
                check(row)
            except (Exception, pytest.fail.Exception) as error:
                failures.append(f"{row}: {type(error).__name__}: {error}")
        assert rows
        if failures:
            head = f"{len(failures)} of {len(rows)} rows fail:"
            pytest.fail("\n".join((head, *failures)), pytrace=False)

    return check_all


def pytest_unconfigure() -> None:
    """
    Have a process that does not end after its last test say where it is, and end.

    Of processes that share the tests all but the first wait for it to end them.
    """
    if _is_outermost and "PYTEST_XDIST_WORKER" not in os.environ:
        faulthandler.dump_traceback_later(ENDING, exit=True, file=sys.__stderr__ or 2)


try:
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:
    # A distribution is also tested alone.
    pass
else:
    # How long an example takes says more of the machine than of what is tested.
    settings.register_profile(
        "unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("unhurried")

try:
    from sybil import Sybil
    from sybil.example import SybilFailure
    from sybil.integration.pytest import SybilItem
    from sybil.parsers.markdown import PythonCodeBlockParser
except ModuleNotFoundError:
    # A distribution is also tested alone, where the documentation is not.
    pass
else:

    def begin_page(namespace: dict[str, Any]) -> None:
        """
        Give the page's code the name of a program, as it has where a reader runs it, and a
        place of its own for temporary files.
        """
        namespace["__name__"] = "__main__"
        tempfile.tempdir = tempfile.mkdtemp(prefix="page-")

    def end_page(_: dict[str, Any]) -> None:
        """Remove what the page's code has left there."""
        shutil.rmtree(tempfile.gettempdir())
        tempfile.tempdir = None

    pytest_collect_file = Sybil(
        parsers=[PythonCodeBlockParser()],
        patterns=[
            "docs/*.md",
            "docs/how-to/*.md",
            "README.md",
            "CONTRIBUTING.md",
            "plugins/*/README.md",
        ],
        setup=begin_page,
        teardown=end_page,
    ).pytest()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
        """
        Show what a code block raises as Python does.

        Sybil cuts tracebacks at its own frames, which the exceptions of threads and
        finalizers, reported as a group after the block, do not have.
        """
        try:
            return (yield)
        except SybilFailure:
            raise
        except Exception as error:
            if not isinstance(item, SybilItem):
                raise
            text = "".join(traceback.format_exception(error))
            raise SybilFailure(item.example, text) from None
