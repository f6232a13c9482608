"""The catalog: how applications are found, pointed to another revision and removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import cloudpickle
import holding
import pytest
from isolate_proto import RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire
from releases import error_of, release_of

from fal_server.access.callers import Caller
from fal_server.access.permissions import PRESETS
from fal_server.errors import NotFound
from fal_server.routing.applications import Application
from fal_server.routing.revision_pools import make_closed_pool
from fal_server.specs.runner_specs import read_spec
from fal_server.store.revisions import Revision, full_alias


def test_earlier_revision(holder, settle):
    """An alias can point to an earlier revision, and a second alias to the same one."""
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


@pytest.fixture
def caller(account: str) -> Caller:
    """The owner."""
    return Caller(user_id=account, nickname="owner", permissions=PRESETS["FULL"])


def register(
    plane: Any,
    caller: Caller,
    name: str,
    change: Callable[[RegisterApplicationRequest], None] = lambda _: None,
    **fields: Any,
) -> Revision:
    """Register an application, and wait until its revision has taken over."""
    request = RegisterApplicationRequest(application_name=name, **fields)
    request.environments.add(kind="virtualenv")
    request.function.method = "cloudpickle"
    cloudpickle.register_pickle_by_value(holding)
    request.function.definition = cloudpickle.dumps(holding.make_server("/nowhere", 1))
    request.machine_requirements.max_concurrency = 3
    request.machine_requirements.exposed_port = 8080
    request.metadata.update({"openapi": {"version": 3}})
    change(request)
    alias = full_alias(name, request.environment_name)
    spec = attrs.evolve(read_spec(request, caller.user_id), application=alias)
    made = plane.plane.deployments.register(caller, request, spec, rolling=True)
    revision, takeover = plane.run(made)
    plane.run(takeover.settled.wait())
    assert not takeover.failed
    found: Revision = revision
    return found


def set_alias(plane: Any, caller: Caller, alias: str, revision: Revision, mode: Any) -> None:
    """Point an alias to a revision, and wait until that has taken over."""
    made = plane.plane.deployments.set_alias(caller, alias, revision.id, mode, True)
    plane.run(plane.run(made).settled.wait())


def test_settings_stay_with_the_next_registration(plane, caller):
    """
    An application keeps how it scales, and who may use it, unless a registration says
    otherwise.
    """
    catalog = plane.plane.catalog
    register(plane, caller, "kept", auth_mode=wire.SHARED)
    application = catalog.find_own(caller, "kept")
    assert (application.scaling.max_concurrency, application.auth_mode) == (3, wire.SHARED)
    changed = attrs.evolve(application.scaling, max_concurrency=7)
    plane.run(catalog.set_scaling(application, changed))
    second = register(plane, caller, "kept")
    assert catalog.find_own(caller, "kept") is application
    assert application.revision == second.id
    assert (application.scaling.max_concurrency, application.auth_mode) == (7, wire.SHARED)
    register(plane, caller, "kept", scale=True, auth_mode=wire.PUBLIC)
    assert (application.scaling.max_concurrency, application.auth_mode) == (3, wire.PUBLIC)


def test_settings_that_come_with_each_revision(plane, caller):
    """
    Machine types, requests per runner and the startup timeout are those of the revision that
    an application has, also of an earlier one; what it leaves out is as in a new application.
    """
    catalog = plane.plane.catalog

    def settings() -> tuple[Any, ...]:
        found = catalog.find_own(caller, "changing").scaling
        return found.machine_types, found.max_multiplexing, found.startup_timeout

    def declare(request: RegisterApplicationRequest) -> None:
        machine = request.machine_requirements
        machine.machine_types.append("L")
        machine.max_multiplexing, machine.startup_timeout = 5, 77

    first = register(plane, caller, "changing")
    assert settings() == ((), 1, 600)
    second = register(plane, caller, "changing", change=declare)
    assert settings() == (("L",), 5, 77)
    changed = attrs.evolve(catalog.find_own(caller, "changing").scaling, keep_alive=99.0)
    plane.run(catalog.set_scaling(catalog.find_own(caller, "changing"), changed))
    set_alias(plane, caller, "changing", first, None)
    assert settings() == ((), 1, 600)
    set_alias(plane, caller, "changing", second, None)
    assert settings() == (("L",), 5, 77)
    assert catalog.find_own(caller, "changing").scaling.keep_alive == 99.0


def test_deleted_revision_takes_its_aliases_along(plane, caller):
    """
    A revision is deleted with all aliases that lead to it, and with no others; those of
    other accounts are not found.
    """
    catalog = plane.plane.catalog
    first, second = (register(plane, caller, "twice") for _ in range(2))
    set_alias(plane, caller, "second", second, None)
    set_alias(plane, caller, "first", first, wire.SHARED)
    stranger = Caller(user_id="user|other", nickname="other", permissions=frozenset())
    with pytest.raises(NotFound):
        plane.run(catalog.delete_revision(stranger, second.id))
    plane.run(catalog.delete_revision(caller, second.id))
    assert catalog.find_own(caller, "first").auth_mode == wire.SHARED
    for name in ("twice", "second"):
        with pytest.raises(NotFound):
            catalog.find_own(caller, name)
    with pytest.raises(NotFound):
        plane.run(catalog.delete_revision(caller, second.id))


def test_metadata_of_an_application(plane, caller):
    """The metadata of an application is as it was registered, for those who may use it."""
    catalog = plane.plane.catalog
    register(plane, caller, "described", auth_mode=wire.PRIVATE)
    register(plane, caller, "open", auth_mode=wire.PUBLIC)
    stranger = Caller(user_id="user|other", nickname="other", permissions=frozenset())
    described = plane.run(catalog.metadata(caller, "owner", "described"))
    assert described == {"openapi": {"version": 3}}
    assert isinstance(described["openapi"]["version"], int)
    assert plane.run(catalog.metadata(stranger, "owner", "open")) == described
    with pytest.raises(NotFound):
        plane.run(catalog.metadata(stranger, "owner", "described"))


def test_ephemeral_application_is_not_changed(plane, caller):
    """
    An application of a run is reached like any other, and is not found by those who would
    change it.
    """
    catalog = plane.plane.catalog

    def add() -> Application:
        made = Application(
            owner=caller.user_id,
            owner_name="owner",
            alias="brief",
            auth_mode=wire.PUBLIC,
            pool=make_closed_pool(),
            ephemeral=True,
        )
        catalog.add_ephemeral(made)
        return made

    application = plane.here(add)
    assert catalog.find("owner", "brief") is application
    assert application in catalog.list_of(caller.user_id)
    assert plane.run(catalog.metadata(caller, "owner", "brief")) == {}
    with pytest.raises(NotFound):
        catalog.find_own(caller, "brief")
    plane.here(catalog.remove_ephemeral, application)
    with pytest.raises(NotFound):
        catalog.find("owner", "brief")


def test_stranger_with_the_same_nickname_owns_nothing(plane, caller):
    """An application belongs to an account, and not to its nickname."""
    catalog = plane.plane.catalog
    register(plane, caller, "mine", environment_name="dev")
    assert catalog.find_own(caller, "mine", "dev").alias == "mine--dev"
    other = attrs.evolve(caller, user_id="user|other")
    for name, stage in (("mine", "dev"), ("mine--dev", "")):
        with pytest.raises(NotFound):
            catalog.find_own(other, name, stage)
    assert catalog.list_of("user|other") == []
