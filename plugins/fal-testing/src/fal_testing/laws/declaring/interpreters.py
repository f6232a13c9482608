"""Laws of interpreters whose Python another program starts, as a container engine does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest

from fal_core import function
from fal_core.environments import Channel
from fal_core.errors import HostError, UnsupportedError
from fal_core.hosts import Host
from fal_core_worker.serving.ports import free_port
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect, expect_cancelled
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Follow, Recorder
from fal_testing.launchers import EXPLAINED, Launched, launched_python

_WHOLE = (
    "Start the worker with the whole Command that Interpreter.command returns, as in "
    "Worker.start(start.build().command(ARGUMENTS)), or pass it on to "
    "Worker.of(process, command=command)."
)


@pytest.fixture
def launched() -> Iterator[Launched]:
    """What becomes of processes that another program starts."""
    with launched_python() as found:
        yield found


Decorate = Callable[..., Callable[[Callable[..., Any]], Any]]


@pytest.fixture
def through(host: Host[..., Any], launched: Launched) -> Decorate:
    """The decorator for functions whose Python another program starts."""

    def decorate(**options: Any) -> Any:
        return function(
            "launched-python",
            host=host,
            on_unsupported="ignore",
            options={"law_folder": launched.folder},
            **options,
        )

    return decorate


def _skip_unless_built_here(launched: Launched) -> None:
    if not launched.was_built_here:
        pytest.skip("The host asks for no build in this process.")


def _try(launched: Launched, call: Callable[[], Any]) -> Any:
    """Return what *call* returns; skip the law where the builder does not know the kind."""
    try:
        return call()
    except Exception:
        _skip_unless_built_here(launched)
        raise


@requires("kind launched-python")
@pytest.mark.parametrize("channel", [each for each in get_args(Channel) if each != "inherited"])
def test_what_a_launcher_prints_is_no_part_of_the_stream(
    through: Decorate, launched: Launched, channel: str
) -> None:
    """
    A call runs where another program starts the worker, regardless of what that program
    prints and which descriptors it passes on.
    """

    @through(law_channel=channel)
    def sum_through(numbers: list[int]) -> int:
        import time

        # The program prints meanwhile.
        time.sleep(0.05)
        return sum(numbers)

    found = _try(launched, lambda: [sum_through([1, 2]), sum_through(list(range(50_000)))])
    _skip_unless_built_here(launched)
    expect(
        found,
        [3, 1_249_975_000],
        f"The results of calls through a launcher whose channel is {channel!r}",
        "Give the process another standard error than its standard output.",
    )


@requires("kind launched-python")
def test_an_interpreter_explains_the_end_of_its_process(
    through: Decorate, launched: Launched
) -> None:
    """
    Where the worker is lost, the error is the one that the command of its interpreter makes
    of the exit code and of what was printed last.
    """

    @through()
    def leave_through(code: int) -> None:
        import os

        os._exit(code)

    error: object = None
    try:
        leave_through(EXPLAINED)
    except HostError as raised:
        error = raised
    _skip_unless_built_here(launched)
    assert "The law's launcher said so." in str(error), (
        f"A worker exited with code {EXPLAINED}, and the call raised {error!r}: expected what "
        f"Command.explain returns of that code and what its launcher printed. {_WHOLE}"
    )


@requires("kind launched-python", "cancel")
def test_a_command_ends_what_no_signal_does(
    through: Decorate, launched: Launched, follow: Follow, law_timeout: float
) -> None:
    """A worker that has to be killed is ended by the command that its interpreter names."""

    @through()
    def hold_out(seconds: float) -> None:
        import time

        until = time.monotonic() + seconds
        print("holding out")
        while time.monotonic() < until:
            try:
                time.sleep(seconds)
            except BaseException:
                pass

    recorder = follow(hold_out, 10 * law_timeout)

    def begin() -> None:
        recorder.wait_for_line("holding out", law_timeout)

    _try(launched, begin)
    _skip_unless_built_here(launched)
    recorder.cancel(0.1)
    expect_cancelled(
        recorder,
        law_timeout,
        "a call that ignores the interrupt, in a process that another command ends",
        _WHOLE,
    )
    assert wait_until(lambda: launched.was_stopped, law_timeout / 2), (
        "A worker was killed, and the stop_argv of its Command was not run: in a container, or "
        f"the job of a cluster, it would run on. {_WHOLE}"
    )


@requires("kind launched-python")
def test_a_command_ends_what_a_failed_program_has_left(
    through: Decorate, launched: Launched, law_timeout: float
) -> None:
    """The command that ends a worker is run too where the program around it has failed."""

    @through()
    def fail_through() -> None:
        import os

        os._exit(3)

    with pytest.raises(HostError):
        _try(launched, fail_through)
    _skip_unless_built_here(launched)
    assert wait_until(lambda: launched.was_stopped, law_timeout / 2), (
        "The program that starts a worker has exited with code 3, and the stop_argv of its "
        "Command was not run: a program that was killed leaves its container, or the job of a "
        f"cluster. {_WHOLE}"
    )


@requires("kind launched-python")
def test_each_process_has_a_name_of_its_own(through: Decorate, launched: Launched) -> None:
    """A host gives no two processes the same name."""

    def find(options: dict[str, Any]) -> int:
        @through(**options)
        def name_through() -> int:
            return 1

        result: int = name_through()
        return result

    _try(launched, lambda: [find({}), find({"law_channel": "passed"})])
    _skip_unless_built_here(launched)
    names = [name for name in launched.names if name is not None]
    assert len(names) == len(set(names)), (
        f"Processes were given the names {names}: expected that each differs from all others, "
        "or that a host gives none."
    )


@requires("kind launched-python", "serve", "cancel")
def test_a_service_in_a_network_of_its_own_is_told_its_ports(
    through: Decorate, launched: Launched, follow: Follow, law_timeout: float
) -> None:
    """
    An interpreter whose processes have a network of their own is told which ports lead to a
    service there, or the host refuses to serve in such an environment.
    """

    @through(law_network=True, exposed_port=free_port())
    def serve_through(seconds: float) -> None:
        import time

        time.sleep(seconds)

    def begin() -> Recorder | None:
        try:
            recorder = follow(serve_through, 10 * law_timeout)
        except UnsupportedError:
            return None
        wait_until(lambda: bool(launched.ports) or recorder.ended, law_timeout)
        return recorder

    recorder = _try(launched, begin)
    if recorder is None:
        return
    recorder.cancel(0.1)
    reason = recorder.wait(law_timeout).reason
    if isinstance(reason, UnsupportedError):
        return
    _skip_unless_built_here(launched)
    assert all(launched.ports or [{}]), (
        "A service was started in an environment that isolates_network, and its interpreter "
        f"was told these ports: {launched.ports}. Nobody would reach it: call "
        "command(ports=...) with a port of this machine for that of the service, or raise "
        "UnsupportedError in launch."
    )
