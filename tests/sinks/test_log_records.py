"""Records that go through the handlers of the caller."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import OptionError
from fal_core.events import Log
from fal_core.sinks.log_records import hand_over
from fal_host_local import LocalHost


class Kept(logging.Handler):
    """A handler that keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[Kept]:
    """The handler of the logger ``test.app``, which takes INFO and higher."""
    handler, logger = Kept(), logging.getLogger("test.app")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def work(number: int) -> int:
    import logging

    logger = logging.getLogger("test.app.part")
    logger.debug("unwanted")
    logger.info("number %d", number)
    try:
        raise LookupError("gone")
    except LookupError:
        logger.exception("lost")
    print("printed")
    return number


def call(isolated: Any) -> None:
    assert isolated(3) == 3


def submit(isolated: Any) -> None:
    assert isolated.submit(3).result(timeout=60) == 3


def spawn(isolated: Any) -> None:
    assert isolated.spawn(3).future.result(timeout=60) == 3


def map_over(isolated: Any) -> None:
    assert list(isolated.map([3])) == [3]


@pytest.mark.parametrize("way", [call, submit, spawn, map_over])
def test_records_go_through_the_handlers_of_the_caller(
    local_host: LocalHost, kept: Kept, way: Any, capfd: pytest.CaptureFixture[str]
):
    """
    With ``logging``, records arrive in the caller's logger of the same name, whose level and
    handlers hold; what is printed is printed.
    """
    way(function("current", host=local_host, logging="DEBUG")(work))
    info, error = kept.records
    assert (info.name, info.levelno, info.getMessage()) == ("test.app.part", 20, "number 3")
    assert (error.levelname, error.getMessage()) == ("ERROR", "lost")
    shown = logging.Formatter("%(levelname)s %(message)s").format(error)
    assert shown.startswith("ERROR lost\nTraceback (most recent call last):\n")
    assert shown.endswith("LookupError: gone")
    assert error.call_id  # type: ignore[attr-defined]  # a field of its own
    assert "number" not in capfd.readouterr().err


def test_only_records_from_the_level_on_travel(local_host: LocalHost, kept: Kept):
    """The level is that of the records which leave the worker."""
    call(function("current", host=local_host, logging="ERROR")(work))
    assert [record.levelname for record in kept.records] == ["ERROR"]


def test_warnings_go_through_the_handlers_of_the_caller(local_host: LocalHost):
    """A warning is a record of the logger that Python has for warnings."""

    def warn() -> None:
        import warnings

        warnings.warn("old", UserWarning, stacklevel=1)

    handler = Kept()
    logging.getLogger("py.warnings").addHandler(handler)
    try:
        function("current", host=local_host, logging="WARNING")(warn)()
    finally:
        logging.getLogger("py.warnings").removeHandler(handler)
    (record,) = handler.records
    assert "UserWarning: old" in record.getMessage()


def test_functions_with_other_levels_have_other_workers(local_host: LocalHost, kept: Kept):
    """What one function asks for changes nothing for another."""
    options = {"host": local_host, "max_concurrency": 1}
    call(function("current", **options, logging="DEBUG")(work))

    def read_level() -> tuple[int, int]:
        import logging

        return logging.getLogger().level, len(logging.getLogger().handlers)

    assert function("current", **options)(read_level)() == (logging.WARNING, 0)


def test_a_group_of_errors_is_a_traceback(kept: Kept):
    """The traceback of a group is apart from the message, too; a message may be one alone."""
    trace = "  + Exception Group Traceback (most recent call last):\n  | ..."
    hand_over(Log(f"several\n{trace}", "ERROR", logger="test.app"))
    hand_over(Log(trace, "ERROR", logger="test.app"))
    first, second = kept.records
    assert (first.getMessage(), first.exc_text) == ("several", trace)
    assert first.rank is None
    assert (second.getMessage(), second.exc_text) == (trace, None)


def test_a_record_says_from_which_node_it_comes(kept: Kept) -> None:
    """A record of a call that runs on several nodes has the number of the node."""
    hand_over(Log("step", "INFO", logger="test.app", rank=3))
    (record,) = kept.records
    assert record.rank == 3  # type: ignore[attr-defined]  # one of those of fal-core


def test_an_unknown_level_is_refused():
    """A level is one of those that Python has names for."""
    with pytest.raises(OptionError, match="logging"):
        function("current", logging="LOUD")
