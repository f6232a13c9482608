"""The gRPC methods for applications and their aliases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import attrs
from isolate_proto import (
    AliasInfo,
    ApplicationInfo,
    DeleteAliasResult,
    DeleteApplicationResult,
    ListAliasesResult,
    ListApplicationsResult,
    RegisterApplicationRequest,
    RegisterApplicationResult,
    RegisterApplicationResultType,
    RolloutApplicationResult,
    SetAliasResult,
    UpdateApplicationResult,
)
from isolate_proto import controller_pb2 as wire

from fal_core.errors import FalCoreError
from fal_core.events import Log
from fal_server.access.callers import Caller
from fal_server.errors import AlreadyExists, Invalid, NotNow
from fal_server.fleet.launching import RunnerLauncher
from fal_server.gateways.playground_pages import find_page
from fal_server.grpc.messages import line_of, to_log, to_timestamp
from fal_server.grpc.run_results import DidNotStart, refusal_of
from fal_server.listeners.urls import DOCUMENT, PLAYGROUND, Urls
from fal_server.routing.applications import Application, describe_since
from fal_server.routing.deployments import Deployments
from fal_server.routing.takeovers import Takeover
from fal_server.specs.runner_specs import WORKFLOW, check_name
from fal_server.specs.scaling import Scaling
from fal_server.store.revisions import Revision, full_alias


class ApplicationMethods:
    """The methods for applications and their aliases."""

    def __init__(self, launcher: RunnerLauncher, deployments: Deployments, urls: Urls) -> None:
        self._launcher = launcher
        self._deployments = deployments
        self._catalog = deployments.catalog
        self._urls = urls

    async def RegisterApplication(
        self, request: RegisterApplicationRequest, caller: Caller
    ) -> AsyncIterator[RegisterApplicationResult]:
        """
        Build the environment of an application, store a revision, and point its alias to it.

        Clients report the deployment as done when they get the revision. They get it once
        a runner of it has come up and takes the requests, or at once if they do not attach to
        the deployment.
        """
        self._launcher.offers.check(request.machine_requirements, request.environments)
        if not request.machine_requirements.HasField("exposed_port"):
            request.machine_requirements.exposed_port = 8080
        alias = self._alias_of(caller, request.application_name, request.environment_name)
        present = self._catalog.applications.get((caller.nickname, alias))
        is_workflow = bool(present and present.spec and present.spec.is_workflow)
        if is_workflow and request.function.method != WORKFLOW:
            raise AlreadyExists(
                f"{alias!r} is the workflow {alias.partition('-')[2]!r}. Use another name for "
                f"the application, or delete it first: 'fal apps delete {alias}'."
            )
        payloads = self._catalog.fleet.payloads
        contexts = payloads.contexts
        read = await contexts.read(request, caller.user_id)
        await payloads.vault.check(read.owner, read.stage, read.secrets)
        spec = attrs.evolve(
            read,
            application=alias,
            owner_name=caller.nickname,
            server_host=caller.server_host,
        )
        await contexts.prepare(spec)
        try:
            building = self._launcher.builds.build(spec.environment, spec.owner)
            async with aclosing(building) as lines:
                async for line in lines:
                    yield RegisterApplicationResult(logs=[to_log(line_of(line))])
        except FalCoreError as error:
            raise Invalid(str(error)) from error
        revision, takeover = await self._deployments.register(
            caller, request, spec, rolling=_is_rolling(request)
        )
        # From here on it goes on, whether the client stays or not.
        env_id = await self._launcher.builds.key_of(spec.environment)
        yield RegisterApplicationResult(env_id=env_id)
        warned = await asyncio.to_thread(self._launcher.hosts.warn, spec)
        for warning in _warnings(takeover, warned):
            yield RegisterApplicationResult(logs=[to_log(line_of(warning))])
        if request.attach_to_deployment or not request.HasField("attach_to_deployment"):
            async for printed in takeover.follow():
                yield RegisterApplicationResult(logs=[to_log(printed)])
            _check_taken_over(alias, takeover)
        yield RegisterApplicationResult(
            result=RegisterApplicationResultType(application_id=revision.id),
            service_urls=self._urls.service_urls(
                caller.nickname,
                alias,
                _page_of(request, caller),
                server_host=caller.server_host,
            ),
            env_id=env_id,
        )

    async def UpdateApplication(self, request: Any, caller: Caller) -> UpdateApplicationResult:
        """Change how an application scales."""
        application = self._catalog.find_own(
            caller, request.application_name, request.environment_name
        )
        self._launcher.offers.check(request)
        await self._catalog.set_scaling(application, application.scaling.changed(request))
        return UpdateApplicationResult(alias_info=_describe(application))

    async def ListApplications(self, request: Any, caller: Caller) -> ListApplicationsResult:
        """Return the revisions of the account."""
        found = await self._catalog.revisions.list(
            caller.user_id, request.application_name or None, request.environment_name or None
        )
        return ListApplicationsResult(
            applications=[self._describe_revision(each, caller) for each in found]
        )

    async def DeleteApplication(self, request: Any, caller: Caller) -> DeleteApplicationResult:
        """Delete a revision."""
        await self._catalog.delete_revision(caller, request.application_id)
        return DeleteApplicationResult()

    async def RolloutApplication(
        self, request: Any, caller: Caller
    ) -> RolloutApplicationResult:
        """
        Replace the runners of an application by new ones.

        Unless it is forced, the answer comes once a new one has come up.
        """
        application = self._catalog.find_own(
            caller, request.application_name, request.environment_name
        )
        takeover = await self._deployments.rollout(application, force=request.force)
        if takeover is not None:
            await takeover.settled.wait()
            _check_taken_over(application.alias, takeover)
        return RolloutApplicationResult()

    async def SetAlias(self, request: Any, caller: Caller) -> SetAliasResult:
        """Point an alias to another revision, once a runner of it has come up."""
        alias = self._alias_of(caller, request.alias, request.environment_name)
        takeover = await self._deployments.set_alias(
            caller,
            alias,
            request.revision,
            request.auth_mode if request.HasField("auth_mode") else None,
            _is_rolling(request),
        )
        await takeover.settled.wait()
        _check_taken_over(alias, takeover)
        application = self._catalog.find_own(caller, alias)
        return SetAliasResult(alias_info=_describe(application))

    async def DeleteAlias(self, request: Any, caller: Caller) -> DeleteAliasResult:
        """Delete an alias."""
        application = self._catalog.find_own(caller, request.alias, request.environment_name)
        await self._catalog.delete_alias(application, key_id=caller.key_id)
        return DeleteAliasResult(revision=application.revision)

    async def ListAliases(self, request: Any, caller: Caller) -> ListAliasesResult:
        """Return the aliases of the account."""
        wanted = request.environment_name or "main"
        return ListAliasesResult(
            aliases=[
                _describe(each)
                for each in self._catalog.list_of(caller.user_id)
                if not each.ephemeral and each.stage == wanted
            ]
        )

    def _alias_of(self, caller: Caller, name: str, stage: str) -> str:
        """
        Return the alias of an application of *caller*, which need not be there yet.

        Raises:
            Invalid: It is not there, and cannot be a name.
        """
        alias = full_alias(name, stage)
        is_there = (caller.nickname, alias) in self._catalog.applications
        return alias if is_there else check_name(alias)

    def _describe_revision(self, revision: Revision, caller: Caller) -> ApplicationInfo:
        active = sum(
            runner.revision == revision.id
            for application in self._catalog.list_of(caller.user_id)
            for runner in application.runners
        )
        return ApplicationInfo(
            application_id=revision.id,
            created_at=to_timestamp(revision.created_at),
            active_runners=active,
            environment_name=revision.stage,
            **_scaling_fields(revision.scaling),
        )


def _warnings(takeover: Takeover, open_port: str) -> Iterator[Log]:
    """
    Yield the warnings for the client that deploys.

    Arguments:
        open_port: What to say about a port that local users reach. Empty where none is.
    """
    for text in (open_port, takeover.advice):
        if text:
            yield Log(text, "WARNING", "BRIDGE", time.time())


def _page_of(request: RegisterApplicationRequest, caller: Caller) -> str:
    """Return the page of an application that people are shown."""
    if "openapi" not in request.metadata:
        return ""
    return PLAYGROUND if caller.is_core or find_page() is not None else DOCUMENT


def _is_rolling(request: Any) -> bool:
    """Return whether the previous runners take requests until a new one has come up."""
    chosen = request.HasField("deployment_strategy")
    return not chosen or bool(request.deployment_strategy == wire.ROLLING)


def _check_taken_over(alias: str, takeover: Takeover) -> None:
    """
    Check that the runners of a revision have taken over the requests.

    Raises:
        Refusal: They have not.
    """
    if takeover.superseded:
        raise NotNow(
            f"Revision {takeover.revision} of {alias!r} has not taken over: the application "
            "was deployed again or removed meanwhile, or the server is ending."
        )
    if takeover.failed is None:
        return
    if takeover.previous == takeover.revision:
        told = f"A new runner of {alias!r} could not be started, and the previous ones go on."
    elif takeover.previous:
        told = (
            f"Revision {takeover.revision} of {alias!r} could not be started, and the "
            f"application stays at revision {takeover.previous}."
        )
    else:
        told = f"Revision {takeover.revision} of {alias!r} could not be started."
        if takeover.failing_since is not None:
            told += f" {describe_since(takeover.failing_since)}"
    if takeover.rolling and takeover.advice:
        told += f" {takeover.advice}"
    sentence = f"{told} {takeover.failed.why_it_ended}"
    raise refusal_of(sentence, takeover.failed.cause, DidNotStart)


def _describe(application: Application) -> AliasInfo:
    return AliasInfo(
        alias=application.alias,
        revision=application.revision,
        auth_mode=application.auth_mode,  # type: ignore[arg-type]  # text in the database
        active_runners=sum(runner.is_alive for runner in application.runners),
        environment_name=application.stage,
        is_rolling=application.takeover is not None,
        **_scaling_fields(application.scaling),
    )


def _scaling_fields(scaling: Scaling) -> dict[str, Any]:
    fields = {
        name: value
        for name, value in attrs.asdict(scaling, recurse=False).items()
        if value is not None
    }
    fields["valid_regions"] = fields.pop("regions")
    fields["scaling_delay_seconds"] = int(fields.pop("scaling_delay"))
    fields["keep_alive"] = int(fields["keep_alive"])
    return fields
