"""Calls of functions that come with their requests: what one asks for, and its way to a runner."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import attrs
from isolate_proto import HostedRun

from fal_server.access.callers import Caller
from fal_server.fleet.call_outcomes import CallOutcome
from fal_server.fleet.calling import call
from fal_server.fleet.endings import RunnerLost
from fal_server.fleet.launching import RunnerLauncher
from fal_server.fleet.payloads import Payloads
from fal_server.fleet.states import RunnerPhase
from fal_server.routing.catalogs import ApplicationCatalog
from fal_server.routing.function_pools import FunctionPools
from fal_server.routing.runner_pools import RunnerPool
from fal_server.specs.runner_specs import RunnerSpec
from fal_server.specs.scaling import Scaling


@attrs.frozen(eq=False)
class FunctionCalls:
    """Reads what a run asks for, and has runners call functions."""

    launcher: RunnerLauncher
    catalog: ApplicationCatalog
    functions: FunctionPools
    payloads: Payloads

    async def read(self, request: HostedRun, caller: Caller) -> tuple[RunnerSpec, Scaling]:
        """
        Return what *request* asks to run, and on how many runners.

        Raises:
            Refusal: It is not valid, or asks for what this server does not have.
        """
        self.launcher.offers.check(request.machine_requirements, request.environments)
        contexts = self.payloads.contexts
        spec = await contexts.read(request, caller.user_id)
        await self.payloads.vault.check(spec.owner, spec.stage, spec.secrets)
        await contexts.prepare(spec)
        scaling = Scaling(max_concurrency=100).changed(request.machine_requirements)
        spec = attrs.evolve(
            spec,
            variables=caller.trace,
            owner_name=caller.nickname,
            server_host=caller.server_host,
        )
        return spec, scaling

    async def call(
        self,
        pool: RunnerPool,
        run_id: str,
        request: HostedRun,
        spec: RunnerSpec,
        argument: Any = None,
    ) -> CallOutcome:
        """
        Call a function in a runner of *pool*. A cancelled call kills its runner.

        Arguments:
            argument: A serialized object, which the function is called with. None where the
                function has its arguments.

        Raises:
            NoRunner: No runner could be started.
        """
        runner = await self.functions.acquire(pool, run_id)
        try:
            self.catalog.runs[run_id] = runner
            header, parts = await self.payloads.make(request, spec, runner)
            if argument is not None:
                header["argument"] = {"method": argument.method, "part": len(parts)}
                parts = [*parts, argument.definition]
            return await call(runner, run_id, header, parts)
        except RunnerLost as error:
            return CallOutcome(failure=str(error))
        except asyncio.CancelledError:
            runner.kill()
            raise
        finally:
            self.catalog.runs.pop(run_id, None)
            if runner.state is RunnerPhase.DRAINING:
                # It was told to end during this call.
                runner.kill()
            runner.release()


def make_run_id() -> str:
    """Return the id of a new run."""
    return os.urandom(12).hex()
