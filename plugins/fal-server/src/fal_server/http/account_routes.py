"""The routes for users, teams, applications, queues and runners."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from aiohttp import web

from fal_server.access.callers import Caller
from fal_server.activity.deployment_records import DeploymentRecord
from fal_server.errors import NotFound
from fal_server.http.api import ApiRoute
from fal_server.http.bodies import number_of, to_text
from fal_server.queue.request_queues import RequestQueue
from fal_server.routing.catalogs import ApplicationCatalog
from fal_server.state.databases import Database
from fal_server.store.accounts import Account, find_account, members_of, teams_of

#: The most deployments in an answer.
_MOST_RECORDS = 500


class AccountRoutes:
    """Answers the routes for users and teams."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> Iterable[ApiRoute]:
        """Return the routes."""
        needs = "account:settings:read"
        return [
            ApiRoute("GET", "/users/current", needs, self._current),
            ApiRoute("GET", "/users/teams", needs, self._teams),
        ]

    async def _current(self, _: web.Request, caller: Caller) -> web.Response:
        def read(connection: sa.Connection) -> Mapping[str, Any]:
            account = find_account(connection, id=caller.user_id)
            if account is None:
                raise NotFound("The account is gone.")
            described = _describe(account)
            if account.kind == "team":
                members = members_of(connection, account.id)
                described |= {"members": [_describe(member) for member in members]}
            return described

        return web.json_response(await self._database.read(read))

    async def _teams(self, _: web.Request, caller: Caller) -> web.Response:
        """Return the accounts for which the caller may act, their own first."""

        def read(connection: sa.Connection) -> list[Mapping[str, Any]]:
            account = find_account(connection, id=caller.user_id)
            own = [account] if account is not None else []
            teams = teams_of(connection, caller.user_id)
            return [_describe(each) for each in (*own, *teams)]

        return web.json_response(await self._database.read(read))


class ApplicationRoutes:
    """Answers the routes for applications and their queues."""

    def __init__(self, catalog: ApplicationCatalog, queue: RequestQueue) -> None:
        self._catalog = catalog
        self._queue = queue

    def routes(self) -> Iterable[ApiRoute]:
        """Return the routes."""
        path = "/applications/{owner}/{alias}"
        return [
            ApiRoute("GET", "/applications/failures", "serverless:apps:read", self._failures),
            ApiRoute("GET", f"{path}/metadata", "serverless:apps:read", self._metadata),
            ApiRoute("GET", f"{path}/deployments", "serverless:apps:read", self._deployments),
            ApiRoute("GET", f"{path}/queue", "serverless:queue:read", self._size),
            ApiRoute("DELETE", f"{path}/queue", "serverless:queue:write", self._flush),
        ]

    async def _metadata(self, request: web.Request, caller: Caller) -> web.Response:
        owner, alias = _application_of(request)
        metadata = await self._catalog.metadata(caller, owner, alias)
        return web.json_response(dict(metadata))

    async def _failures(self, _: web.Request, caller: Caller) -> web.Response:
        """Return the applications of the caller of which no runner has come up."""
        found = {
            each.alias: {"since": to_text(each.failure.since), "reason": each.failure.reason}
            for each in self._catalog.list_of(caller.user_id)
            if each.failure is not None
        }
        return web.json_response({"failures": found})

    async def _deployments(self, request: web.Request, caller: Caller) -> web.Response:
        """
        Return what was deployed to an application of the caller, the newest first; also where
        it is deleted.
        """
        owner, alias = _application_of(request)
        most = number_of(request, "limit", _MOST_RECORDS, most=_MOST_RECORDS)
        found: Sequence[DeploymentRecord] = ()
        if owner == caller.nickname:
            found = await self._catalog.history.list(caller.user_id, alias, most=most)
        if not found:
            raise NotFound(f"Application {owner[:80]}/{alias[:80]} was not found.")
        return web.json_response({"deployments": [_describe_record(each) for each in found]})

    async def _size(self, request: web.Request, caller: Caller) -> web.Response:
        owner, alias = _application_of(request)
        queue = await self._queue.size(caller, owner, alias)
        content: dict[str, Any] = {"size": queue.size, "queue_size": queue.size}
        if request.query.get("by_user", "").lower() in {"true", "1"}:
            content["by_user"] = dict(queue.by_caller)
        return web.json_response(content)

    async def _flush(self, request: web.Request, caller: Caller) -> web.Response:
        owner, alias = _application_of(request)
        sender = request.query.get("caller_user_id") or None
        dropped = await self._queue.flush(caller, owner, alias, sender=sender)
        return web.json_response({"flushed": dropped})


class RunnerRoutes:
    """Answers the route for a runner."""

    def __init__(self, catalog: ApplicationCatalog) -> None:
        self._catalog = catalog

    def routes(self) -> Iterable[ApiRoute]:
        """Return the routes."""
        return [ApiRoute("GET", "/runners/{id}", "serverless:runners:read", self._runner)]

    async def _runner(self, request: web.Request, caller: Caller) -> web.Response:
        times = await self._catalog.times(caller, request.match_info["id"])
        started, ended = (
            None if time is None else to_text(time)
            for time in (times.started_at, times.ended_at)
        )
        return web.json_response({"started_at": started, "ended_at": ended})


def _application_of(request: web.Request) -> tuple[str, str]:
    return request.match_info["owner"], request.match_info["alias"]


def _describe_record(record: DeploymentRecord) -> dict[str, Any]:
    described = attrs.asdict(record)
    described["created_at"] = to_text(record.created_at)
    described["ended_at"] = None if record.ended_at is None else to_text(record.ended_at)
    return described


def _describe(account: Account) -> dict[str, Any]:
    return {
        "user_id": account.id,
        "nickname": account.nickname,
        "full_name": account.full_name,
        "is_personal": account.kind == "user",
        "is_org": False,
        "is_locked": False,
        "lock_reason": None,
        "is_paying": True,
    }
