"""
The catalog: how applications are found, pointed to another revision and removed.
"""

from __future__ import annotations

from holding import error_of, release_of
from isolate_proto import controller_pb2 as wire


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
    assert error_of(lambda: holder.call("SetAlias", missing)).code().name == "NOT_FOUND"
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
    assert error_of(lambda: holder.delete("gone")).code().name == "NOT_FOUND"


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
