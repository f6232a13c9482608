"""
The code blocks of the documentation are tests; those of one page are one program.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

#: Seconds from the end of the tests to that of their process.
ENDING = 60

# The laws are tested by runs inside of tests, each with a copy of this module. The
# variable has the process whose run is the outermost.
_VARIABLE = "FAL_CORE_TESTS_OF"
_is_outermost = os.environ.get(_VARIABLE) != str(os.getpid())
os.environ[_VARIABLE] = str(os.getpid())


def pytest_configure() -> None:
    """
    Have the programs of tests hear Ctrl-C, also where a shell started all this aside.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
        """
        Remove what the page's code has left there.
        """
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
