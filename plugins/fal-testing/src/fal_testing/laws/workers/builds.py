"""Laws of calls that wait: for their environment to be built, before there is a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import EnvironmentBuildError
from fal_core.hosts import Host
from fal_testing.counted import Counted, counted_builds
from fal_testing.harness.builds import HeldBuild
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect, expect_cancelled, named
from fal_testing.harness.marks import Isolated
from fal_testing.harness.recorders import Follow

#: How many calls need an environment at once.
MANY = 32

_BEGIN = (
    "Build the environment, and start the worker, on a thread of their own, as "
    "fal_core.pools.WorkerHost does."
)


@pytest.fixture
def counted() -> Iterator[Counted]:
    """An environment whose builds are counted."""
    with counted_builds() as found:
        yield found


Decorate = Callable[..., Callable[[Callable[..., Any]], Any]]


@pytest.fixture
def in_counted(host: Host[..., Any], counted: Counted) -> Decorate:
    """The decorator for functions in the environment whose builds are counted."""

    def decorate(**options: Any) -> Any:
        return function(
            "counted-builds",
            host=host,
            on_unsupported="ignore",
            options={"law_folder": counted.folder},
            **options,
        )

    return decorate


def test_launching_does_not_wait_for_a_build(isolated: Isolated, law_timeout: float) -> None:
    """``launch`` returns while the environment is built, and the call runs once it is."""

    @isolated()
    def run_when_built() -> str:
        return "built"

    with HeldBuild(run_when_built, law_timeout / 2) as build:
        build.launch()
        assert not build.inline, (
            "launch built the environment itself, so that its caller waits as long as that "
            f"takes. {_BEGIN}"
        )
        assert not build.given_up.is_set(), (
            "launch returned when the environment was built; expected it while the build goes "
            f"on. {_BEGIN}"
        )
        build.wait_until_begun()
        build.release()
        expect(
            build.recorder.result(law_timeout),
            "built",
            "The result of a call whose environment was built after launch had returned",
            f"These events came: {build.recorder.told}.",
        )


@requires("cancel")
def test_a_call_that_waits_for_a_build_can_be_cancelled(
    isolated: Isolated, law_timeout: float
) -> None:
    """
    A call that is cancelled before it has a worker ends, and with it the build that only this
    call waits for.
    """

    @isolated()
    def never_built() -> str:
        return "built"

    with HeldBuild(never_built, law_timeout) as build:
        build.launch()
        assert not build.inline, (
            "launch built the environment itself, so that nobody has an execution to cancel "
            f"while that takes. {_BEGIN}"
        )
        build.wait_until_begun()
        build.recorder.cancel(1.0)
        what = "a call that was cancelled while its environment was built"
        look = "Send Exited with Cancelled at once, as for a call that has a worker."
        expect_cancelled(build.recorder, law_timeout, what, look)
        assert build.cancelled.wait(law_timeout / 2), (
            "A call was cancelled while its environment was built, and the build goes on: "
            "expected that the event `cancelled` that build was given is set. Set it once no "
            "call waits for the build any longer."
        )


@requires("kind counted-builds", at_once=MANY)
def test_many_calls_cause_one_build(
    in_counted: Decorate, counted: Counted, follow: Follow, law_timeout: float
) -> None:
    """Many workers that need one new environment at once cause one build."""

    @in_counted(max_concurrency=MANY)
    def run_in_counted(number: int) -> int:
        return 2 * number

    recorders = [follow(run_in_counted, number) for number in range(MANY)]
    for recorder in recorders:
        recorder.wait(law_timeout)
    if not counted.builds:
        pytest.skip("The host asks for no build in this process.")
    expect(
        [recorder.result(law_timeout) for recorder in recorders],
        [2 * number for number in range(MANY)],
        f"The results of {MANY} calls that needed a new environment at once",
        _BEGIN,
    )
    expect(
        counted.builds,
        1,
        f"How often an environment was built that {MANY} calls needed at once",
        "Have call.environment.build build it: it keeps what is built where every process of "
        "the user finds it, and so no worker needs a cache of its own.",
    )


@requires("kind counted-builds", at_once=MANY)
def test_calls_whose_environment_cannot_be_built_all_end(
    in_counted: Decorate, counted: Counted, follow: Follow, law_timeout: float
) -> None:
    """
    Many calls that need an environment which cannot be built all end with
    ``EnvironmentBuildError`` within seconds, and so does a later one.
    """

    @in_counted(law_fails=True)
    def never_run_in_counted() -> int:
        return 1

    recorders = [follow(never_run_in_counted) for _ in range(MANY)]
    for recorder in recorders:
        recorder.wait(law_timeout)
    recorders.append(follow(never_run_in_counted))
    reasons = [recorder.wait(law_timeout).reason for recorder in recorders]
    if not counted.builds:
        pytest.skip("The host asks for no build in this process.")
    wrong = [reason for reason in reasons if not isinstance(reason, EnvironmentBuildError)]
    assert not wrong, (
        f"{MANY} calls at once, and one after them, needed an environment that cannot be "
        f"built: expected that each ends with EnvironmentBuildError, and {len(wrong)} ended "
        f"with {named(wrong[0]) if wrong[0] else 'no error'}. End every call that waits for a "
        "build with what build raises as the reason in Exited."
    )
