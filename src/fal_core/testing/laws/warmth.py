"""
Laws of warm workers: they are kept between calls, and not for ever.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core.testing.harness.capabilities import requires
from fal_core.testing.harness.expectations import expect
from fal_core.testing.harness.identities import make_identify, still_living
from fal_core.testing.harness.marks import Isolated
from fal_core.testing.harness.processes import wait_until


@requires("keep_alive", "option max_concurrency")
def test_a_warm_worker_is_used_again(isolated: Isolated) -> None:
    """
    Calls one after another run in one worker, which keeps the modules they have loaded.
    """

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


@requires("keep_alive", "option max_concurrency", "option setup_function")
def test_the_setup_runs_once_in_each_worker(isolated: Isolated) -> None:
    """
    ``setup_function`` runs once in each worker, not for each call.
    """

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
    """
    A worker that has been idle for ``keep_alive`` seconds ends.
    """

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
    """
    A setup of one function is not seen by another that shares nothing with it.
    """

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
    """
    Calls soon after an edit of a local module find what a new process would.
    """
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
