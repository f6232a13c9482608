"""Records: what functions log, and the warnings that they cause."""

from __future__ import annotations

import os
from typing import Any

import pytest

from fal_core import function
from fal_core.events import Log, Returned
from fal_core_worker.output.records import level_of
from fal_host_local import LocalHost
from fal_testing.harness.recorders import Recorder


def record(isolated: Any, *arguments: Any) -> list[Log]:
    """Return the lines of a call."""
    recorder = Recorder(isolated.make_launcher())
    recorder.launch(*arguments)
    recorder.result(60)
    return recorder.printed


def told(logs: list[Log]) -> list[tuple[str, str | None, str]]:
    return [(log.level, log.logger, log.message) for log in logs]


@pytest.mark.parametrize(
    ("number", "level"),
    [
        (0, "TRACE"),
        (5, "TRACE"),
        (10, "DEBUG"),
        (25, "INFO"),
        (30, "WARNING"),
        (49, "ERROR"),
        (50, "CRITICAL"),
        (99, "CRITICAL"),
    ],
)
def test_numbers_of_levels_have_names(number: int, level: str):
    """A level between two that have names counts as the lower one."""
    assert level_of(number) == level


def test_a_record_has_its_level_its_logger_and_its_traceback(local_host: LocalHost):
    """
    Records that no handler takes arrive from WARNING on, one event for each, in the order
    of what is printed.
    """

    def work() -> None:
        import logging
        import sys

        logger = logging.getLogger("app.store")
        logger.info("unheard")
        print("one")
        logger.critical("two")
        print("three", file=sys.stderr)
        try:
            {}["key"]
        except KeyError:
            logger.exception("four")

    *logs, error = told(record(function("current", host=local_host)(work)))
    assert logs == [
        ("STDOUT", None, "one"),
        ("CRITICAL", "app.store", "two"),
        ("STDERR", None, "three"),
    ]
    level, logger, message = error
    assert (level, logger) == ("ERROR", "app.store")
    assert message.startswith("four\nTraceback (most recent call last):\n")
    assert message.endswith("KeyError: 'key'")


def test_handlers_of_the_function_are_used(local_host: LocalHost):
    """A function that sets up logging itself gets what it has asked for."""

    def work() -> None:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(levelname)s of mine: %(message)s")
        logging.getLogger("app").info("heard")

    isolated = function("current", host=local_host, keep_alive=0)(work)
    assert told(record(isolated)) == [("STDERR", None, "INFO of mine: heard")]


def test_level_of_the_option_holds_for_loggers_with_a_lower_one(local_host: LocalHost):
    """``logging="INFO"`` sends no record below that level, whatever the level of its logger."""

    def work() -> None:
        import logging

        logger = logging.getLogger("own")
        logger.setLevel(logging.DEBUG)
        logger.debug("fine")
        logger.info("told")

    isolated = function("current", host=local_host, logging="INFO")(work)
    assert told(record(isolated)) == [("INFO", "own", "told")]


def test_warnings_are_records(local_host: LocalHost):
    """
    A warning is one event with the place that it is about, and filters and recorders of
    the function work.
    """

    def work() -> list[str]:
        import warnings

        warnings.warn("shown", UserWarning, stacklevel=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.warn("caught", UserWarning, stacklevel=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.warn("ignored", UserWarning, stacklevel=1)
        return [str(each.message) for each in caught]

    isolated = function("current", host=local_host)(work)
    ((level, logger, message),) = told(record(isolated))
    assert (level, logger) == ("WARNING", "py.warnings")
    place, line = message.splitlines()
    assert place.startswith(f"{__file__}:")
    assert place.endswith("UserWarning: shown")
    assert line.strip().startswith("warnings.warn(")
    assert isolated() == ["caught"]


def test_modules_that_are_set_up_are_as_python_loads_them(local_host: LocalHost):
    """Logging and warnings have their own loaders and sources."""

    def work() -> list[str]:
        import inspect
        import logging
        import warnings

        modules: list[Any] = [logging, warnings]
        assert all("def " in inspect.getsource(module) for module in modules)
        return [type(module.__spec__.loader).__name__ for module in modules]

    assert function("current", host=local_host)(work)() == ["SourceFileLoader"] * 2


def test_a_forked_child_logs_to_standard_error(local_host: LocalHost):
    """Records of a forked child arrive as its lines do."""

    def work() -> None:
        import logging

        child = os.fork()
        if not child:
            logging.getLogger("app").warning("from the child")
            os._exit(0)
        os.waitpid(child, 0)

    logs = told(record(function("current", host=local_host)(work)))
    assert logs == [("STDERR", None, "from the child")]


def test_records_of_a_batch_name_their_item(local_host: LocalHost):
    """A record belongs to the item of a map that has logged it."""

    def work(number: int) -> None:
        import logging

        logging.getLogger("app").warning("item %d", number)

    isolated = function("current", host=local_host)(work)
    items = [((number,), {}) for number in range(3)]

    def run() -> Recorder:
        recorder = Recorder(isolated.make_launcher())
        recorder.call = recorder.launcher.call(items, batch=3)
        recorder.follow(local_host.launch(recorder.call, recorder))
        recorder.wait(60)
        return recorder

    recorder = run()
    # An item that takes long, as on a busy machine, has the others handed back.
    while any(isinstance(event, Returned) for event in recorder.events):
        recorder = run()
    assert recorder.call is not None
    name = recorder.call.id
    found = [(log.message, log.call_id) for log in recorder.printed]
    assert found == [(f"item {number}", f"{name}/{number}") for number in range(3)]
