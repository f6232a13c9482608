"""Deployments: how a revision takes over, and how the runners of one are replaced."""

from __future__ import annotations

import os

import grpc
import pytest
from holding import make_failure
from isolate_proto import controller_pb2 as wire
from releases import error_of, release_of


def rollout(holder, name: str, *, force: bool = False) -> None:
    """Replace the runners of an application."""
    request = wire.RolloutApplicationRequest(application_name=name, force=force)
    holder.call("RolloutApplication", request)


def test_rollout(holder, settle):
    """A rollout replaces the runners of an application, and drops no request."""
    holder.deploy("rollout", max_multiplexing=4)
    pid = holder.ask("rollout").json()["pid"]
    with holder.load("rollout") as answers:
        settle(lambda: len(answers) > 10)
        rollout(holder, "rollout")
        settle(lambda: answers[-1].json()["pid"] != pid)
    assert {each.status_code for each in answers} == {200}


def test_forced_rollout(holder, settle):
    """
    A forced rollout ends the runners at once, with the requests that they have; those that
    wait go to new ones.
    """
    holder.deploy("forced", max_concurrency=1)
    held = holder.hold("forced", "forced-word")
    settle(lambda: holder.in_flight("forced") == [1])
    (runner,) = holder.runners("forced")
    waiting = holder.hold("forced", "forced-other")
    settle(lambda: holder.waiting("forced") == 1)
    holder.write("forced-other")
    rollout(holder, "forced", force=True)
    assert held.result().status_code == 503
    assert waiting.result().status_code == 200
    settle(lambda: holder.times(runner.runner_id)[1])


def test_rollout_that_fails(holder, settle):
    """A rollout whose new runner does not come up fails, and the previous runners go on."""
    holder.deploy("stuck", attach=True)
    pid = holder.ask("stuck").json()["pid"]
    holder.write("starting-1")
    try:
        failing = holder.later(error_of, lambda: rollout(holder, "stuck"))
        settle(lambda: holder.states.SETUP in {each.state for each in holder.runners("stuck")})
        (starting,) = [
            each for each in holder.runners("stuck") if each.state == holder.states.SETUP
        ]
        refused = error_of(lambda: rollout(holder, "stuck"))
        assert refused.code().name == "FAILED_PRECONDITION"
        assert "is being deployed" in refused.details()
        holder.kill(starting.runner_id)
        assert "the previous ones go on" in failing.result().details()
    finally:
        holder.lift("starting-1")
    assert holder.ask("stuck").json()["pid"] == pid


def test_rollout_without_runners(holder, settle):
    """Where an application has no runners there is nothing to replace."""
    holder.deploy("none", attach=True, keep_alive=0)
    settle(lambda: not holder.runners("none"))
    rollout(holder, "none")
    assert not holder.runners("none")


def test_recreated_application_that_fails(holder, settle):
    """
    If a revision that recreates an application does not come up, the requests that wait for
    it are answered by the previous one.
    """
    first = holder.deploy("again", attach=True)
    holder.write("starting-2")
    try:
        failing = holder.later(
            error_of, lambda: holder.deploy("again", 2, strategy="RECREATE", attach=None)
        )
        settle(
            lambda: [each.state for each in holder.runners("again")] == [holder.states.SETUP]
        )
        (starting,) = holder.runners("again")
        waiting = holder.later(holder.ask, "again")
        settle(lambda: holder.waiting("again") == 1)
        holder.kill(starting.runner_id)
        assert f"stays at revision {first}" in failing.result().details()
    finally:
        holder.lift("starting-2")
    assert release_of(waiting.result()) == 1
    assert holder.alias("again").revision == first


def test_recreated_application_that_is_deployed_again(holder, settle):
    """
    A deployment that replaces one which has not come up yet begins from the revision before
    both.
    """
    first = holder.deploy("twice", attach=True)
    holder.write("starting-2")
    try:
        replaced = holder.later(
            error_of, lambda: holder.deploy("twice", 2, strategy="RECREATE", attach=None)
        )
        settle(
            lambda: [each.state for each in holder.runners("twice")] == [holder.states.SETUP]
        )
        error_of(lambda: holder.deploy("twice", function=make_failure(), attach=True))
        assert "deployed again" in replaced.result().details()
    finally:
        holder.lift("starting-2")
    assert release_of(holder.ask("twice")) == 1
    assert holder.alias("twice").revision == first


def test_revision_that_is_deleted_while_it_starts(holder, settle):
    """A deployment ends where its revision is deleted, and the previous one goes on."""
    first = holder.deploy("deleted", attach=True)
    holder.write("starting-2")
    try:
        second = holder.deploy("deleted", 2)
        assert holder.alias("deleted").is_rolling
        holder.call("DeleteApplication", wire.DeleteApplicationRequest(application_id=second))
    finally:
        holder.lift("starting-2")
    settle(lambda: not holder.alias("deleted").is_rolling)
    assert holder.alias("deleted").revision == first
    assert release_of(holder.ask("deleted")) == 1


def test_settings_that_change_while_a_deployment_goes_on(holder, settle):
    """A change of how an application scales holds for the revision that takes over as well."""
    holder.deploy("moving", attach=True)
    holder.write("starting-2")
    try:
        holder.deploy("moving", 2, max_multiplexing=3)
        info = holder.set("moving", keep_alive=77)
        assert (info.keep_alive, info.max_multiplexing) == (77, 1)
    finally:
        holder.lift("starting-2")
    settle(lambda: not holder.alias("moving").is_rolling)
    info = holder.alias("moving")
    assert (info.keep_alive, info.max_multiplexing) == (77, 3)


@pytest.fixture
def crowded(make_plane, programs, holding, tmp_path):
    """A holder of applications on a machine that has no room for two runners of type BIG."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    plane = make_plane(memory=(f"BIG={total * 3 // 5}",))
    folder = tmp_path / "held"
    folder.mkdir()
    made = holding.Holder(plane, folder)
    yield made
    made.close()
    programs.end_runners(plane.settings.data)


def test_application_that_never_came_up(
    make_plane, programs, holding, tmp_path, caplog, settle
):
    """
    It has failed, also for the next server, and is not merely without a runner: a request is
    refused with the reason once a runner for it has failed as well. Once one has come up it
    is like any other, also for the next server.
    """

    def failures():
        with holder.plane.client() as client:
            return client.get("/applications/failures").json()["failures"]

    def go_on():
        holder.disconnect()
        holder.plane.close()
        holder.connect(make_plane())

    holder = holding.Holder(make_plane(), tmp_path)
    try:
        wanting = holding.make_wanting(str(tmp_path), "weights")
        with pytest.raises(grpc.RpcError):
            holder.deploy("wanting", function=wanting, attach=True, keep_alive=0)
        first = failures()["wanting"]
        assert first["reason"] == "LookupError: no weights"
        caplog.clear()
        assert "no weights" in holder.ask("wanting").json()["detail"]
        failed = [each for each in caplog.messages if "has failed after" in each]
        assert len(failed) == 1, caplog.messages
        with pytest.raises(grpc.RpcError) as caught:
            holder.deploy("wanting", function=wanting, attach=True, keep_alive=0)
        since = first["since"].replace("T", " ")[:19]
        assert f"No runner of it has come up since {since} UTC." in caught.value.details()
        go_on()
        assert failures() == {"wanting": first}
        holder.write("weights")
        assert release_of(holder.ask("wanting")) == 1
        settle(lambda: not failures())
        settle(lambda: not holder.runners("wanting"))
        go_on()
        assert not failures()
        assert release_of(holder.ask("wanting")) == 1
    finally:
        holder.close()
        programs.end_runners(holder.plane.settings.data)


def test_revisions_that_do_not_fit_together_at_the_next_server(
    crowded, make_plane, settle, caplog
):
    """
    A server that goes on with a deployment knows that the revisions may not fit on the
    machine together, and says so if that fails.
    """
    crowded.deploy("big", attach=True, machine_type="BIG")
    crowded.write("starting-2")
    crowded.deploy("big", 2, machine_type="BIG")
    try:
        settle(lambda: len(crowded.runners("big")) == 2)
        memory = crowded.plane.settings.memory
        crowded.disconnect()
        crowded.plane.close()
        crowded.connect(make_plane(memory=memory))
        settle(lambda: len(crowded.runners("big")) == 2 and crowded.ready("big"))
        (previous,) = [each.runner_id for each in crowded.ready("big")]
        assert crowded.alias("big").is_rolling
        for each in crowded.runners("big"):
            if each.runner_id != previous:
                crowded.kill(each.runner_id)
        settle(lambda: not crowded.alias("big").is_rolling)
    finally:
        crowded.lift("starting-2")
    (told,) = [it.getMessage() for it in caplog.records if "does not serve" in it.getMessage()]
    assert "The previous runners may use " in told
    assert "'--strategy recreate' ends the previous runners before" in told


def test_revisions_that_do_not_fit_together(crowded, settle):
    """
    Where the previous runners and a new one may not fit on the machine together, a rolling
    deployment says so, and what helps. One that recreates starts no runner before the last
    of the previous ones has ended, which finishes its requests.
    """
    crowded.deploy("big", attach=True, machine_type="BIG")
    assert not any("previous" in line for line in crowded.told)
    failing = make_failure()
    error = error_of(
        lambda: crowded.deploy("big", function=failing, attach=True, machine_type="BIG")
    )
    for told in (crowded.told[0], error.details()):
        assert "The previous runners may use " in told
        assert "'--strategy recreate' ends the previous runners before" in told
    held = crowded.hold("big", "big-word")
    settle(lambda: crowded.in_flight("big") == [1])
    (runner,) = crowded.runners("big")
    deployed = crowded.later(
        crowded.deploy, "big", 2, strategy="RECREATE", attach=None, machine_type="BIG"
    )
    settle(lambda: crowded.alias("big").is_rolling)
    waiting = crowded.later(crowded.ask, "big")
    settle(lambda: crowded.waiting("big") == 1)
    assert crowded.runners("big")[0].runner_id == runner.runner_id
    assert len(crowded.runners("big")) == 1
    crowded.write("big-word")
    assert release_of(held.result()) == 1
    assert release_of(waiting.result()) == 2
    deployed.result()
    assert "when they have finished their requests and ended." in crowded.told[0]
    (other,) = crowded.runners("big")
    ended = crowded.times(runner.runner_id)[1]
    assert ended is not None
    assert crowded.times(other.runner_id)[0] >= ended
