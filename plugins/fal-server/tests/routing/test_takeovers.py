"""
Takeovers: requests and runners while an application is deployed, changed and removed.
"""

from __future__ import annotations

import grpc
import pytest
from isolate_proto import controller_pb2 as wire

from fal_server.errors import Invalid
from fal_server.specs.runner_specs import check_name


def grpc_error(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def grpc_code(call):
    return grpc_error(call).code().name


def release_of(answer):
    return answer.json()["release"]


@pytest.mark.parametrize("strategy", ["ROLLING", "RECREATE"])
def test_deployment_under_load(holder, settle, strategy):
    """
    A deployment drops no request, whatever its strategy: runners finish the requests that
    they have, and the new release takes those that wait and all later ones.
    """
    name = strategy.lower()
    holder.deploy(name, max_concurrency=2, max_multiplexing=2)
    held = holder.hold(name, f"{name}-word")
    settle(lambda: holder.in_flight(name) == [1])
    with holder.load(name) as answers:
        settle(lambda: len(answers) > 20)
        holder.deploy(name, 2, strategy=strategy)
        settle(lambda: release_of(answers[-1]) == 2)
        holder.deploy(name, 3, strategy=strategy)
        settle(lambda: release_of(answers[-1]) == 3)
    assert {each.status_code for each in answers} == {200}
    # The first release still has its request, and the others were answered.
    settle(lambda: sum(holder.in_flight(name)) == 1)
    assert not held.done()
    holder.write(f"{name}-word")
    assert release_of(held.result()) == 1
    settle(lambda: len({each.revision for each in holder.runners(name)}) == 1)


def test_order_of_strategies(holder, settle):
    """
    During a rolling deployment the old runners take requests until a new one is ready.
    During one that recreates, requests wait.
    """
    holder.deploy("order")
    assert release_of(holder.ask("order")) == 1
    holder.write("starting-2")
    holder.deploy("order", 2)
    settle(lambda: len(holder.runners("order")) == 2)
    assert holder.alias("order").is_rolling
    assert release_of(holder.ask("order")) == 1
    holder.lift("starting-2")
    settle(lambda: release_of(holder.ask("order")) == 2)
    settle(lambda: len(holder.runners("order")) == 1)
    assert not holder.alias("order").is_rolling

    holder.write("starting-3")
    holder.deploy("order", 3, strategy="RECREATE")
    holder.write("order-word")
    held = holder.hold("order", "order-word")
    # The old runner ends first.
    settle(lambda: [each.state for each in holder.runners("order")] == [holder.states.SETUP])
    assert not held.done()
    holder.lift("starting-3")
    assert release_of(held.result()) == 3


@pytest.mark.parametrize("attach", [True, None])
def test_attached_deployment_waits(holder, settle, attach):
    """
    A rolling deployment, which is attached by default, returns once the new release takes
    requests. Until then it streams the log lines of the new runners.
    """
    name = f"attached-{attach}".lower()
    holder.deploy(name, attach=attach)
    assert release_of(holder.ask(name)) == 1
    holder.write("starting-7")
    deployed = holder.later(holder.deploy, name, 7, attach=attach)
    settle(lambda: holder.states.SETUP in {each.state for each in holder.runners(name)})
    assert release_of(holder.ask(name)) == 1
    assert not deployed.done()
    settle(lambda: [line.split()[1:] for line in holder.told] == [["waits"]])
    holder.lift("starting-7")
    assert deployed.result() == holder.alias(name).revision
    assert release_of(holder.ask(name)) == 7


def test_attached_deployment_that_is_superseded(holder, settle):
    """
    An attached deployment fails if the application is deployed again before it is done.
    """
    holder.deploy("superseded")
    assert release_of(holder.ask("superseded")) == 1
    holder.write("starting-8")
    try:
        waiting = holder.later(grpc_error, lambda: holder.deploy("superseded", 8, attach=True))
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
    error = grpc_error(lambda: holder.deploy("failing", function=fail, attach=True))
    assert (
        "of 'failing' does not come up. Until it does, the previous revision goes on"
        in error.details()
    )
    assert "no weights" in error.details()
    assert release_of(holder.ask("failing")) == 1


def test_release_that_does_not_come_up(holder, settle):
    """
    A release without a ready runner takes no requests from the previous one, and is dropped
    by the next deployment.
    """
    holder.deploy("broken")
    assert release_of(holder.ask("broken")) == 1
    holder.write("starting-5")
    try:
        holder.deploy("broken", 5)
        settle(lambda: holder.states.SETUP in {each.state for each in holder.runners("broken")})
        (starting,) = [
            each for each in holder.runners("broken") if each.state == holder.states.SETUP
        ]
        holder.kill(starting.runner_id)
        assert release_of(holder.ask("broken")) == 1
        holder.deploy("broken", 6)
        settle(lambda: release_of(holder.ask("broken")) == 6)
        settle(lambda: len(holder.runners("broken")) == 1)
    finally:
        holder.lift("starting-5")


def test_rollout(holder, settle):
    """
    A rollout replaces the runners of an application, and drops no request.
    """
    holder.deploy("rollout", max_multiplexing=4)
    pids = {holder.ask("rollout").json()["pid"]}
    for force in (False, True):
        with holder.load("rollout") as answers:
            settle(lambda: len(answers) > 10)
            holder.call(
                "RolloutApplication",
                wire.RolloutApplicationRequest(application_name="rollout", force=force),
            )
            settle(lambda: answers[-1].json()["pid"] not in pids)
        assert {each.status_code for each in answers} == {200}
        pids.add(answers[-1].json()["pid"])


def test_earlier_revision(holder, settle):
    """
    An alias can point to an earlier revision, and a second alias to the same one.
    """
    first = holder.deploy("alias", max_multiplexing=2)
    holder.deploy("alias", 2)
    settle(lambda: release_of(holder.ask("alias")) == 2)
    info = holder.call(
        "SetAlias",
        wire.SetAliasRequest(
            alias="alias",
            revision=first,
            auth_mode=wire.PUBLIC,
            deployment_strategy=wire.RECREATE,
        ),
    )
    assert (info.revision, info.auth_mode, info.max_multiplexing) == (first, wire.PUBLIC, 2)
    assert release_of(holder.ask("alias")) == 1
    holder.call("SetAlias", wire.SetAliasRequest(alias="other", revision=first))
    assert release_of(holder.ask("other")) == 1
    assert holder.alias("other").auth_mode == wire.PRIVATE
    missing = wire.SetAliasRequest(alias="alias", revision="0" * 32)
    assert grpc_code(lambda: holder.call("SetAlias", missing)) == "NOT_FOUND"
    assert release_of(holder.ask("alias")) == 1


def test_deleted_alias(holder, settle):
    """
    A deleted application accepts no more requests. Those that it has are finished, and then
    its runners end.
    """
    revision = holder.deploy("gone", max_concurrency=1)
    held = holder.hold("gone", "gone-word")
    settle(lambda: holder.in_flight("gone") == [1])
    waiting = holder.hold("gone", "gone-word")
    settle(lambda: holder.waiting("gone") == 1)
    runner = holder.runners("gone")[0].runner_id
    assert holder.delete("gone") == revision
    assert holder.ask("gone").status_code == 404
    assert holder.times(runner)[1] is None
    holder.write("gone-word")
    assert [each.result().status_code for each in (held, waiting)] == [200, 200]
    settle(lambda: holder.times(runner)[1] is not None)
    assert grpc_code(lambda: holder.delete("gone")) == "NOT_FOUND"


def test_stages_are_separate(holder, settle):
    """
    An application name in two stages is two applications, which are found, changed and
    deleted separately.
    """
    holder.call("CreateEnvironment", wire.CreateEnvironmentRequest(name="staging"))
    holder.deploy("twice", 1)
    holder.deploy("twice", 2, environment="staging")
    assert release_of(holder.ask("twice")) == 1
    assert release_of(holder.ask("twice--staging")) == 2
    assert [each.alias for each in holder.aliases("staging")] == ["twice--staging"]
    assert len(holder.runners("twice", "staging")) == 1
    holder.set("twice", environment_name="staging", keep_alive=77)
    assert holder.aliases("staging")[0].keep_alive == 77
    assert holder.alias("twice").keep_alive == 300
    holder.delete("twice", "staging")
    assert holder.ask("twice--staging").status_code == 404
    assert release_of(holder.ask("twice")) == 1
    holder.call("DeleteEnvironment", wire.DeleteEnvironmentRequest(name="staging"))


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a" * 129])
def test_invalid_name_of_an_application(name):
    """
    The error for an invalid name says which names are valid.
    """
    with pytest.raises(Invalid, match=r"1 to 128 characters, none of them a space"):
        check_name(name)
    assert check_name("a.b-c_d") == "a.b-c_d"
