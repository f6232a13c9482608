"""The gRPC methods for applications: deployments that come up, and those that do not."""

from __future__ import annotations

import httpx
from holding import make_failure
from isolate_proto import controller_pb2 as wire
from polling import PATIENCE
from releases import error_of, release_of

from fal_server.grpc import application_methods


def test_attached_deployment_that_is_superseded(holder, settle):
    """An attached deployment fails if the application is deployed again before it is done."""
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
    A deployment fails with the reason if its runner does not start; the application stays as
    it was, with its revision, its settings and those who may use it.
    """
    first = holder.deploy("failing", keep_alive=200)
    assert release_of(holder.ask("failing")) == 1
    error = error_of(
        lambda: holder.deploy(
            "failing", function=make_failure(), attach=True, reset=True, keep_alive=9
        )
    )
    assert f"could not be started, and the application stays at revision {first}." in (
        error.details()
    )
    assert error.details().endswith("LookupError: no weights")
    assert any("in fail\nLookupError: no weights" in line for line in holder.told)
    assert release_of(holder.ask("failing")) == 1
    info = holder.alias("failing")
    assert (info.revision, info.keep_alive, info.is_rolling) == (first, 200, False)


def test_first_deployment_that_fails(holder):
    """
    A deployment of a new application fails like any other, and the next one says since when
    none has come up. Its owner is told why requests are refused, and another deployment mends
    it.
    """
    for told in ("'never' could not be started. ", ". No runner of it has come up since "):
        error = error_of(
            lambda: holder.deploy("never", function=make_failure(), attach=True)
        ).details()
        assert told in error
        assert error.endswith("LookupError: no weights")
    answer = holder.ask("never")
    assert answer.status_code == 503
    assert "LookupError: no weights" in answer.json()["detail"]
    holder.deploy("never", 2, attach=True)
    assert release_of(holder.ask("never")) == 2


def test_idle_application_is_not_replaced_by_what_fails(holder, settle):
    """An application that has no runner at the moment keeps its revision as well."""
    first = holder.deploy("asleep", attach=True)
    holder.set("asleep", keep_alive=0)
    settle(lambda: not holder.runners("asleep"))
    error_of(lambda: holder.deploy("asleep", function=make_failure(), attach=True))
    assert holder.alias("asleep").revision == first
    assert release_of(holder.ask("asleep")) == 1


def test_detached_deployment_that_fails(holder, settle):
    """A deployment that nobody waits for returns at once, and changes nothing if it fails."""
    first = holder.deploy("detached", attach=True)
    holder.write("starting-4")
    try:
        second = holder.deploy("detached", 4, attach=False)
        assert second != first
        settle(
            lambda: holder.states.SETUP in {each.state for each in holder.runners("detached")}
        )
        assert holder.alias("detached").is_rolling
        (starting,) = [
            each.runner_id for each in holder.runners("detached") if each.revision == second
        ]
        holder.kill(starting)
        settle(lambda: not holder.alias("detached").is_rolling)
    finally:
        holder.lift("starting-4")
    assert holder.alias("detached").revision == first
    assert release_of(holder.ask("detached")) == 1


def test_runner_of_a_deployment_is_the_first_of_its_revision(holder, settle):
    """The runner that was started for a deployment takes the first request."""
    for release in (1, 2):
        revision = holder.deploy("first", release, attach=True)
        (runner,) = [each for each in holder.ready("first") if each.revision == revision]
        assert release_of(holder.ask("first")) == release
        settle(lambda: len(holder.runners("first")) == 1)
        assert holder.runners("first")[0].runner_id == runner.runner_id


def test_deployment_goes_on_without_its_client(holder, settle):
    """A deployment goes on if its client goes, and takes over once its runner is up."""
    holder.deploy("left", attach=True)
    holder.write("starting-11")
    try:
        stream = holder.begin("left", 11)
        settle(lambda: holder.alias("left").is_rolling)
        stream.cancel()
        assert release_of(holder.ask("left")) == 1
    finally:
        holder.lift("starting-11")
    settle(lambda: release_of(holder.ask("left")) == 11)


def test_strangers_are_not_told_why(holder):
    """Why an application does not start is for its owner: others are told that it does not."""
    error_of(
        lambda: holder.deploy("public", function=make_failure(), attach=True, auth=wire.PUBLIC)
    )
    url = f"http://127.0.0.1:{holder.plane.plane.ports['run']}/owner/public"
    key = holder.plane.add_user("stranger")
    for headers in ({}, {"Authorization": f"Key {key}"}):
        answer = httpx.post(url, headers=headers, timeout=PATIENCE, trust_env=False)
        assert answer.status_code == 503
        assert answer.json()["detail"] == "The application could not be started."
    assert "no weights" in holder.ask("public").json()["detail"]


def test_name_that_cannot_be_one(holder, monkeypatch):
    """
    An application has no name that looks like another. One that is there already, as from an
    earlier version, keeps its name.
    """
    error = error_of(lambda: holder.deploy("p\u0430yment"))
    assert error.code().name == "INVALID_ARGUMENT"
    assert r"'p\u0430yment' cannot be the name of an application" in error.details()
    with monkeypatch.context() as earlier:
        earlier.setattr(application_methods, "check_name", lambda name: name)
        holder.deploy("größe")
    holder.deploy("größe", 2, attach=True)
    assert release_of(holder.ask("größe")) == 2
