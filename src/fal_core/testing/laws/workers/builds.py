"""
Laws of calls that wait: for their environment to be built, before there is a worker.
"""

from __future__ import annotations

from fal_core.errors import Cancelled
from fal_core.testing.harness.builds import HeldBuild
from fal_core.testing.harness.capabilities import requires
from fal_core.testing.harness.expectations import expect
from fal_core.testing.harness.marks import Isolated

_BEGIN = (
    "Build the environment, and start the worker, on a thread of their own, as "
    "fal_core.pools.WorkerHost does."
)


def test_launching_does_not_wait_for_a_build(isolated: Isolated, law_timeout: float) -> None:
    """
    ``launch`` returns while the environment is built, and the call runs once it is.
    """

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
        exited = build.recorder.wait(law_timeout)
        assert isinstance(exited.reason, Cancelled), (
            "A call was cancelled while its environment was built: expected Exited with the "
            f"reason Cancelled. These events came: {build.recorder.told}."
        )
        assert build.cancelled.wait(law_timeout / 2), (
            "A call was cancelled while its environment was built, and the build goes on: "
            "expected that the event `cancelled` that build was given is set. Set it once no "
            "call waits for the build any longer."
        )
