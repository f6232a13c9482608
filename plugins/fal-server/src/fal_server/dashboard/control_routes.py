"""
The routes with which the pages change something: the methods of the gRPC service, in JSON.

Each needs the permission that the method needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import attrs
import sqlalchemy as sa
from aiohttp import web
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from isolate_proto.controller_pb2 import DESCRIPTOR

from fal_core.capacities import Capacity
from fal_server.access.callers import Caller
from fal_server.access.permissions import PROCEDURES
from fal_server.errors import Invalid
from fal_server.fleet.launching import RunnerLauncher
from fal_server.fleet.placing.host_pools import FleetHost
from fal_server.http.api import ApiRoute
from fal_server.http.bodies import read_object
from fal_server.state.databases import Database
from fal_server.store.accounts import find_owner
from fal_server.store.keys import list_keys

#: The methods that the pages call.
NAMES = (
    *("StopRunner", "KillRunner", "SetAlias", "RolloutApplication", "DeleteAlias"),
    *("ListApplications", "ListEnvironments", "ListSecrets", "CreateUserKey", "RevokeUserKey"),
)


class Methods(Protocol):
    """An object with some of the methods."""


@attrs.define(eq=False)
class ControlRoutes:
    """Answers the routes of methods, keys and machines."""

    methods: Sequence[Methods]
    database: Database
    launcher: RunnerLauncher

    def routes(self) -> Iterable[ApiRoute]:
        """Return the routes."""
        calls = [
            ApiRoute("POST", f"/dashboard/{name}", PROCEDURES[name], self._calling(name))
            for name in NAMES
        ]
        return [
            *calls,
            ApiRoute("GET", "/dashboard/keys", PROCEDURES["ListUserKeys"], self._keys),
            ApiRoute("GET", "/dashboard/machines", PROCEDURES["ListRunners"], self._machines),
        ]

    def _calling(self, name: str) -> Any:
        service = DESCRIPTOR.services_by_name["IsolateController"]
        kind: type[Message] = GetMessageClass(service.methods_by_name[name].input_type)
        owner = next(each for each in self.methods if hasattr(each, name))
        method = getattr(owner, name)

        async def answer(request: web.Request, caller: Caller) -> web.Response:
            content = await read_object(request)
            try:
                message = ParseDict(content, kind())
            except (ParseError, TypeError, ValueError):
                raise Invalid(f"The body is not what {name} takes.") from None
            result = await method(message, caller)
            described = MessageToDict(result, preserving_proto_field_name=True)
            return web.json_response(described, headers={"Cache-Control": "no-store"})

        return answer

    async def _keys(self, _: web.Request, caller: Caller) -> web.Response:
        """Return the keys of the account, without their secrets."""

        def read(connection: sa.Connection) -> list[Mapping[str, Any]]:
            return [
                {
                    "id": key.id,
                    "alias": key.alias,
                    "preset": key.preset,
                    "permissions": sorted(key.permissions),
                    "created_at": key.created_at,
                    "used_at": key.used_at,
                    "is_own": key.id == caller.key_id,
                }
                for key in list_keys(connection, caller.user_id)
            ]

        return web.json_response({"keys": await self.database.read(read)})

    async def _machines(self, _: web.Request, caller: Caller) -> web.Response:
        """
        Return what the machines of the hosts have, and what is free. Why a host cannot be
        asked is for the owner of the server alone: errors of hosts name what they run on.
        """
        owner = await self.database.read(find_owner)
        is_owner = caller.user_id == owner.id
        hosts = self.launcher.hosts
        found = []
        for each in hosts.hosts:
            capacity, problem = await asyncio.to_thread(each.read_capacity)
            told = problem if is_owner or not problem else "The host cannot be asked now."
            found.append({**_describe_host(each, capacity, caller), "problem": told})
        return web.json_response({"machines": found})


def _describe_host(
    host: FleetHost, capacity: Capacity | None, caller: Caller
) -> Mapping[str, Any]:
    nodes = () if capacity is None else capacity.nodes
    return {
        "name": host.way.name,
        "own_runners": sum(each.spec.owner == caller.user_id for each in host.runners),
        "free_cpus": None if capacity is None else capacity.free_cpus,
        "free_gpus": None if capacity is None else capacity.free_gpus,
        "nodes": [
            {
                "cpus": each.cpus,
                "memory": each.memory,
                "gpus": each.gpus,
                "model": each.gpu_model,
            }
            for each in nodes
        ],
    }
