"""The routes that publish and delete workflows."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable
from typing import Any

import attrs
from aiohttp import web
from isolate_proto import RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire

from fal_server.access.callers import Caller
from fal_server.errors import AlreadyExists, NotFound
from fal_server.grpc.application_methods import ApplicationMethods
from fal_server.http.api import ApiRoute
from fal_server.http.bodies import read_object, text_of, to_text
from fal_server.listeners.urls import read_host
from fal_server.routing.catalogs import ApplicationCatalog
from fal_server.routing.routers import WORKFLOWS, split_path, workflow_alias
from fal_server.specs.runner_specs import WORKFLOW
from fal_server_agent.workflows.graphs import BadGraph, Graph

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}")

#: How many requests one runner of a workflow handles at once: it only waits for others.
_AT_ONCE = 64


@attrs.frozen
class WorkflowRoutes:
    """
    Answers the routes for workflows.

    A workflow is an application whose function is the graph itself: its requests are queued,
    scaled and authorized as those of every application.
    """

    applications: ApplicationMethods
    catalog: ApplicationCatalog

    def routes(self) -> Iterable[ApiRoute]:
        """Return the routes."""
        needs, one = "serverless:apps:deploy", f"/{WORKFLOWS}/{{owner}}/{{name}}"
        return [
            ApiRoute("POST", f"/{WORKFLOWS}/", needs, self._publish),
            ApiRoute("DELETE", one, needs, self._delete),
        ]

    async def _publish(self, request: web.Request, caller: Caller) -> web.Response:
        content = await read_object(request)
        name, title = text_of(content, "name"), text_of(content, "title")
        contents, is_public = content.get("contents"), content.get("is_public", True)
        if not _NAME.fullmatch(name):
            return _refuse(
                "The name of a workflow has letters, digits, '-' and '_', at most 128, and "
                "does not begin with '-'."
            )
        try:
            graph = Graph.read(contents)
        except (BadGraph, RecursionError) as error:
            return _refuse(str(error) or "The workflow is nested too deeply.")
        alias = workflow_alias(name)
        called = {split_path(f"/{each}")[:2] for each in graph.applications.values()}
        if (caller.nickname, alias) in called:
            return _refuse("The workflow calls itself, which would never end.")
        self._check_workflow(caller, alias)
        registration = _registration(alias, contents, is_public=bool(is_public))
        caller = attrs.evolve(caller, server_host=read_host(request.host))
        async for _ in self.applications.RegisterApplication(registration, caller):
            # Its runner comes up with the first request.
            pass
        described = {
            "name": name,
            "title": title,
            "contents": contents,
            "is_public": bool(is_public),
            "user_id": caller.user_id,
            "user_nickname": caller.nickname,
            "created_at": to_text(time.time()),
        }
        return web.json_response(described, status=201)

    async def _delete(self, request: web.Request, caller: Caller) -> web.Response:
        owner, name = request.match_info["owner"], request.match_info["name"]
        if owner != caller.nickname:
            raise NotFound(f"Workflow {owner[:80]}/{name[:80]} was not found.")
        application = self.catalog.find_own(caller, workflow_alias(name), "")
        self._check_workflow(caller, application.alias)
        await self.catalog.delete_alias(application, key_id=caller.key_id)
        return web.Response(status=204)

    def _check_workflow(self, caller: Caller, alias: str) -> None:
        """
        Check that an alias leads to a workflow, if to anything.

        Raises:
            AlreadyExists: It leads to another application.
        """
        found = self.catalog.applications.get((caller.nickname, alias))
        if found is not None and not (found.spec and found.spec.is_workflow):
            raise AlreadyExists(
                f"The application {alias!r} is no workflow. Use another name for the workflow, "
                f"or delete the application first: 'fal apps delete {alias}'."
            )


def _registration(alias: str, contents: Any, *, is_public: bool) -> RegisterApplicationRequest:
    """Return the request that deploys a workflow."""
    request = RegisterApplicationRequest(
        application_name=alias,
        auth_mode=wire.SHARED if is_public else wire.PRIVATE,
        attach_to_deployment=False,
    )
    version = ".".join(str(each) for each in sys.version_info[:2])
    request.environments.add(kind="virtualenv").configuration["python_version"] = version
    request.function.method = WORKFLOW
    request.function.definition = json.dumps(contents).encode()
    request.machine_requirements.machine_type = "XS"
    request.machine_requirements.max_multiplexing = _AT_ONCE
    request.machine_requirements.keep_alive = 300
    return request


def _refuse(sentence: str) -> web.Response:
    """Return the response to a workflow that cannot be run, as released clients read it."""
    problem = {"loc": ["body", "contents"], "msg": sentence, "type": "value_error"}
    return web.json_response({"detail": [problem]}, status=422)
