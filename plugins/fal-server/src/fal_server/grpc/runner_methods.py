"""The gRPC methods for runners."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from google.protobuf.struct_pb2 import Struct
from isolate_proto import (
    KillRunnerResponse,
    ListAliasRunnersResponse,
    ListRunnersResponse,
    RunnerInfo,
    StopRunnerResponse,
)

from fal_server.access.callers import Caller
from fal_server.errors import Invalid
from fal_server.fleet.runners import Runner
from fal_server.routing.applications import Application
from fal_server.routing.catalogs import ApplicationCatalog
from fal_server.routing.function_pools import FunctionPools
from fal_server.routing.runner_pools import RunnerPool
from fal_server.store.runner_records import RunnerRecord

#: The states of the protocol, by the labels of runners.
_STATES = {
    "pending": RunnerInfo.PENDING,
    "building": RunnerInfo.DOCKER_PULL,
    "setup": RunnerInfo.SETUP,
    "running": RunnerInfo.RUNNING,
    "idle": RunnerInfo.IDLE,
    "draining": RunnerInfo.DRAINING,
    "terminated": RunnerInfo.TERMINATED,
}


class RunnerMethods:
    """The methods for runners, of applications and of functions."""

    def __init__(self, catalog: ApplicationCatalog, functions: FunctionPools) -> None:
        self._catalog = catalog
        self._functions = functions

    async def ListAliasRunners(self, request: Any, caller: Caller) -> ListAliasRunnersResponse:
        """Return the runners of an application."""
        application = self._catalog.find_own(caller, request.alias, request.environment_name)
        found = _describe_runners(application, request)
        ended = await self._ended(request, caller, application.alias)
        return ListAliasRunnersResponse(runners=[*found, *ended])

    async def ListRunners(self, request: Any, caller: Caller) -> ListRunnersResponse:
        """Return the runners of the account. With a time, include those that have ended since."""
        found = [
            info
            for application in self._catalog.list_of(caller.user_id)
            for info in _describe_runners(application, request)
        ]
        for pool in self._functions.pools:
            for runner in pool.runners:
                if runner.spec.owner == caller.user_id and _is_asked_for(runner, request):
                    found.append(
                        _describe_runner(runner, runner.spec.name, pool.scaling.keep_alive)
                    )
        return ListRunnersResponse(runners=[*found, *await self._ended(request, caller)])

    async def StopRunner(self, request: Any, caller: Caller) -> StopRunnerResponse:
        """
        Drain a runner, after a replacement is up if the request asks for one.

        The id of a run stands for its runner, whose function is interrupted.
        """
        runs = self._catalog.runner_of_run(caller.user_id, request.runner_id)
        if runs is not None:
            runs.drain()
            return StopRunnerResponse()
        pool, runner = self._find(caller, request.runner_id)
        if request.replace_first:
            other = pool.start_one()
            await other.ready.wait()
            if not other.is_running:
                raise Invalid(f"Its replacement could not be started. {other.why_it_ended}")
        runner.drain()
        pool.adjust()
        return StopRunnerResponse()

    async def KillRunner(self, request: Any, caller: Caller) -> KillRunnerResponse:
        """Kill a runner, or the runner of a run."""
        self.find(caller, request.runner_id).kill()
        return KillRunnerResponse()

    def find(self, caller: Caller, runner_id: str) -> Runner:
        """
        Return a runner of the account, by its id or by that of a run.

        Raises:
            NotFound: There is no such runner.
        """
        runs = self._catalog.runner_of_run(caller.user_id, runner_id)
        return runs or self._find(caller, runner_id)[1]

    def _find(self, caller: Caller, runner_id: str) -> tuple[RunnerPool, Runner]:
        """
        Return a runner of the account, and the pool in which a replacement would start.

        Raises:
            NotFound: There is no such runner.
        """
        for pool in self._functions.pools:
            for runner in pool.runners:
                if runner.id == runner_id and runner.spec.owner == caller.user_id:
                    return pool, runner
        application, runner = self._catalog.find_runner(caller.user_id, runner_id)
        return application.pool, runner

    async def _ended(
        self, request: Any, caller: Caller, alias: str | None = None
    ) -> Iterator[RunnerInfo]:
        """
        Return the runners of applications that have ended since the time in *request*.
        Empty where it has no time.
        """
        if not request.HasField("start_time"):
            return iter(())
        since = request.start_time.seconds + request.start_time.nanos / 1e9
        records = self._catalog.fleet.records
        return map(_describe_record, await records.ended(caller.user_id, since, alias))


def _describe_runners(application: Application, request: Any) -> list[RunnerInfo]:
    return [
        _describe_runner(runner, application.alias, application.scaling.keep_alive)
        for runner in application.runners
        if _is_asked_for(runner, request)
    ]


def _is_asked_for(runner: Runner, request: Any) -> bool:
    return bool(request.list_pending) or runner.is_running


def _describe_runner(runner: Runner, alias: str, keep_alive: float) -> RunnerInfo:
    leases = Struct()
    leases.update(
        {
            "leases": [
                {"request_id": id, "leased_at_epoch": lease[0], "caller_user_id": lease[1]}
                for id, lease in runner.requests.items()
            ]
        }
    )
    if runner.lifecycle.is_waiting:
        leases["waits_for"] = runner.lifecycle.waits_for
    info = RunnerInfo(
        runner_id=runner.id,
        in_flight_requests=runner.in_flight,
        uptime=runner.uptime,
        revision=runner.revision,
        alias=alias,
        external_metadata=leases,
        state=_STATES[runner.label],
        machine_type=runner.spec.machine_type,
    )
    if runner.label == "idle":
        idle = time.monotonic() - runner.idle_since
        info.expiration_countdown = max(0, int(keep_alive - idle))
    return info


def _describe_record(record: RunnerRecord) -> RunnerInfo:
    assert record.ended_at is not None
    return RunnerInfo(
        runner_id=record.id,
        uptime=max(0.0, record.ended_at - record.started_at),
        revision=record.revision,
        alias=record.alias,
        state=RunnerInfo.TERMINATED,
        machine_type=record.machine_type,
    )
