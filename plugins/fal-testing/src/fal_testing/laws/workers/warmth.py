"""Laws of warm workers: they are kept between calls, and not for ever."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from fal_core.hosts import Host
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect
from fal_testing.harness.identities import HIDDEN, make_identify, started_at, still_living
from fal_testing.harness.marks import Isolated, Marks
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Follow

#: How many places are tried for a worker that is used again, at most.
_PLACES = 16
#: By what the patience of the laws is divided for the time that further workers are given to
#: start, one attempt after another.
_ATTEMPTS = (256, 64, 16, 4)


@requires("keep_alive", "option max_concurrency")
def test_a_warm_worker_is_used_again(isolated: Isolated) -> None:
    """Calls one after another run in one worker, which keeps the modules they have loaded."""

    identify = make_identify()

    @isolated(max_concurrency=1, keep_alive=60)
    def count_on() -> tuple[str, int]:
        import sys

        module = sys.modules.setdefault("counted", type(sys)("counted"))
        count = module.__dict__["count"] = module.__dict__.get("count", 0) + 1
        return identify(), count

    (first, one), (second, two), (third, three) = count_on(), count_on(), count_on()
    look = "Give the next call of equal environment and options to the worker that is idle."
    expect([second, third], [first] * 2, "The processes of the second and third call", look)
    expect((one, two, three), (1, 2, 3), "What three calls counted in one module", look)


@requires("keep_alive")
def test_a_worker_takes_more_than_one_call(host: Host[..., Any], isolated: Isolated) -> None:
    """Of several calls one after another, at least one finds what an earlier one has loaded."""

    @isolated(keep_alive=60)
    def load_once() -> bool:
        import sys

        was_there = "loaded_by_a_law" in sys.modules
        sys.modules.setdefault("loaded_by_a_law", type(sys)("loaded_by_a_law"))
        return was_there

    # One more than there are places: each may have a worker.
    count = 1 + min(host.capabilities.concurrency, _PLACES)
    assert any(load_once() for _ in range(count)), (
        f"{count} calls one after another, of one function: each came to a worker that had "
        "taken no call of it. Give the next call of equal environment and options to a worker "
        "that is idle; or do not claim `keep_alive`."
    )


@requires("keep_alive", "option min_concurrency", "concurrency 2")
def test_as_many_workers_stay_as_are_asked_for(
    another_host: Host[..., Any],
    isolated: Isolated,
    follow: Follow,
    marks: Marks,
    law_timeout: float,
) -> None:
    """With ``min_concurrency=2`` there are two workers after one call, before a second one comes."""
    add, look, identify = marks.add, marks.look, make_identify()

    def meet(attempt: int, count: int, timeout: float) -> tuple[str, float, str]:
        """Return which process this is, when the call began, and on which machine."""
        import os
        import time

        try:
            now = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
            with open("/proc/sys/kernel/random/boot_id") as file:
                machine = file.read()
        except (AttributeError, OSError):
            now, machine = 0.0, ""
        add(attempt)
        until = time.monotonic() + timeout
        while look().count(str(attempt)) < count and time.monotonic() < until:
            time.sleep(0.01)
        return identify(), now, machine

    def are_there(attempt: int, pause: float) -> bool:
        # Workers of its own: those of the last attempt are there by now.
        asks = isolated(
            host=another_host, min_concurrency=2, max_concurrency=2, keep_alive=60 + attempt
        )(meet)
        asks(attempt, 1, 0)
        time.sleep(pause)
        _, asked, machine = asks(-attempt, 1, 0)
        pair = [follow(asks, 100 + attempt, 2, law_timeout / 8) for _ in range(2)]
        found = [recorder.result(law_timeout) for recorder in pair]
        if any(where != machine for _, _, where in found):
            pytest.skip(HIDDEN)
        processes = {process for process, _, _ in found}
        return len(processes) == 2 and all(started_at(each) < asked for each in processes)

    pauses = [law_timeout / part for part in _ATTEMPTS]
    assert any(are_there(attempt, pause) for attempt, pause in enumerate(pauses, 1)), (
        f"With min_concurrency=2 there was one worker {pauses[-1]:g} s after the first call: "
        "two calls at once did not find two that had been started before. Start as many as "
        "min_concurrency says with the first call, and end none below that number; or do not "
        "claim the option."
    )


@requires("keep_alive", "option max_concurrency", "option setup_function")
def test_the_setup_runs_once_in_each_worker(isolated: Isolated) -> None:
    """``setup_function`` runs once in each worker, not for each call."""

    def load() -> str:
        import uuid

        return uuid.uuid4().hex

    identify = make_identify()

    @isolated(max_concurrency=1, keep_alive=60, setup_function=load)
    def tell_loaded(loaded: str) -> tuple[str, str]:
        return identify(), loaded

    found = {tell_loaded() for _ in range(3)}
    assert len(found) == 1, (
        "Three calls one after another: expected one process and one setup, found "
        f"{len(found)}: {sorted(found)}. Keep the worker, and with it what its setup returned."
    )


@requires("keep_alive", "option keep_alive", "crash")
def test_an_idle_worker_ends(isolated: Isolated, law_timeout: float) -> None:
    """A worker that has been idle for ``keep_alive`` seconds ends."""

    identify = make_identify()

    @isolated(keep_alive=0.3)
    def tell() -> str:
        return identify()

    assert not still_living(isolated, [tell()], law_timeout / 4), (
        f"A worker with keep_alive=0.3 still lives after {law_timeout / 4:g} s. End what has "
        "been idle for keep_alive seconds, without a further call."
    )


@requires("keep_alive", "option max_concurrency")
def test_functions_of_other_options_do_not_share_a_worker(isolated: Isolated) -> None:
    """A setup of one function is not seen by another that shares nothing with it."""

    def load() -> str:
        import builtins

        builtins.fal_core_law = "loaded"  # type: ignore[attr-defined]  # this law's own name
        return "loaded"

    @isolated(max_concurrency=1, setup_function=load)
    def use(loaded: str) -> str:
        return loaded

    @isolated(max_concurrency=1)
    def peek() -> bool:
        import builtins

        return hasattr(builtins, "fal_core_law")

    look = "Share a worker between functions of equal environment, options and setup alone."
    expect(use(), "loaded", "The result of a function with a setup", look)
    expect(peek(), False, "Whether a function without a setup sees that of another", look)


@requires("crash")
def test_an_edited_module_is_imported_anew(
    isolated: Isolated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, law_timeout: float
) -> None:
    """Calls soon after an edit of a local module find what a new process would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(value: int) -> None:
        # At once: an edit is never seen by halves.
        new = tmp_path / "new"
        new.write_text(f"value = {value}\n")
        new.replace(tmp_path / "fal_core_law_edited.py")

    @isolated()
    def read_the_module() -> int:
        import fal_core_law_edited  # type: ignore[import-not-found]  # written above

        value: int = fal_core_law_edited.value
        return value

    look = (
        "Send the sources of the call that is launched; where Worker.launch raises "
        "ConnectionError, launch the call on another worker."
    )

    def expect_soon(value: int) -> None:
        found = 0

        def is_found() -> bool:
            nonlocal found
            found = read_the_module()
            return found == value

        if not wait_until(is_found, law_timeout):
            expect(found, value, "What a function reads from an edited module", look)

    write(1)
    expect(read_the_module(), 1, "What a function reads from a local module", look)
    write(20)
    expect_soon(20)
    write(1)
    expect_soon(1)
