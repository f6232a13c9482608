"""
The gRPC methods for applications: deployments that do not come up.
"""

from __future__ import annotations

from releases import error_of, release_of


def test_attached_deployment_that_is_superseded(holder, settle):
    """
    An attached deployment fails if the application is deployed again before it is done.
    """
    holder.deploy("superseded")
    assert release_of(holder.ask("superseded")) == 1
    holder.write("starting-8")
    try:
        waiting = holder.later(error_of, lambda: holder.deploy("superseded", 8, attach=True))
        settle(lambda: len(holder.runners("superseded")) == 2)
        holder.deploy("superseded", 9, attach=True)
        assert release_of(holder.ask("superseded")) == 9
    finally:
        holder.lift("starting-8")
    error = waiting.result()
    assert error.code().name == "FAILED_PRECONDITION"
    assert "has not taken over: the application was deployed again" in error.details()


def test_attached_deployment_that_fails(holder):
    """
    An attached deployment fails if no runner starts, with the reason, and says that the
    previous release keeps answering.
    """

    def fail() -> None:
        raise LookupError("no weights")

    holder.deploy("failing")
    assert release_of(holder.ask("failing")) == 1
    error = error_of(lambda: holder.deploy("failing", function=fail, attach=True))
    assert (
        "of 'failing' does not come up. Until it does, the previous revision goes on"
        in error.details()
    )
    assert "no weights" in error.details()
    assert release_of(holder.ask("failing")) == 1
