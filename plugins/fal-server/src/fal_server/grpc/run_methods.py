"""
The gRPC methods that run one function: one that comes with the call, or an application that
lives as long as the call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress

import attrs
from isolate_proto import (
    BuildEnvironmentRequest,
    BuildEnvironmentResult,
    HostedRun,
    HostedRunResult,
    HostedRunStatus,
)
from isolate_proto import controller_pb2 as wire

from fal_core.errors import FalCoreError
from fal_core.events import Log
from fal_server.access.callers import Caller
from fal_server.fleet.runners import Runner
from fal_server.fleet.serving import serve
from fal_server.grpc.function_calls import FunctionCalls, make_run_id
from fal_server.grpc.messages import line_of, to_log
from fal_server.grpc.run_results import (
    DidNotStart,
    Results,
    finish,
    make_results,
    refusal_of,
    results_until_end,
    told_by_builder,
)
from fal_server.listeners.urls import PLAYGROUND, Urls
from fal_server.logs.log_lines import LogLine
from fal_server.routing.applications import Application, echo_key
from fal_server.routing.refusals import NoRunner
from fal_server.routing.runner_pools import RunnerPool
from fal_server.specs.runner_specs import Message, RunnerSpec
from fal_server.specs.scaling import Scaling
from fal_server.state.tasks import Tasks

#: Seconds that a run waits for its runners to end before another takes its place.
_LONGEST_END = 20.0


class RunMethods:
    """The methods that run functions."""

    def __init__(self, calls: FunctionCalls, urls: Urls) -> None:
        self._calls = calls
        self._launcher = calls.launcher
        self._catalog = calls.catalog
        self._functions = calls.functions
        self._payloads = calls.payloads
        self._urls = urls
        self._tasks = Tasks()

    async def Run(self, request: HostedRun, caller: Caller) -> AsyncIterator[HostedRunResult]:
        """
        Run a function, and yield its log lines and in the end its outcome.

        A function with a port is reached through the gateways meanwhile.
        """
        async with aclosing(self.run(request, caller)) as results:
            async for result in results:
                yield result

    async def run(
        self, request: HostedRun, caller: Caller, session: str = ""
    ) -> AsyncGenerator[HostedRunResult, None]:
        """
        Do what :meth:`Run` does, once or as one of several runs that follow each other.

        Arguments:
            session: What the address of a function with a port is made of, for each of those
                runs: one begins when the runners of the one before it have ended.
        """
        run_id = make_run_id()
        spec, scaling = await self._calls.read(request, caller)
        if spec.port is None:
            pool = self._functions.find(spec, scaling)
            env_id = await self._functions.environment_id(pool, spec)
            results = self._call(run_id, request, spec, pool)
        else:
            env_id = await self._launcher.builds.key_of(spec.environment)
            results = self._serve(run_id, request, spec, scaling, caller, session)
        async with aclosing(results):
            async for result in results:
                result.run_id = run_id
                result.env_id = env_id
                yield result

    async def BuildEnvironment(
        self, request: BuildEnvironmentRequest, caller: Caller
    ) -> AsyncIterator[BuildEnvironmentResult]:
        """Build an environment, and yield what the builder prints."""
        self._launcher.offers.check(request.machine_requirements, request.environments)
        builds, contexts = self._launcher.builds, self._payloads.contexts
        if request.HasField("secrets"):
            stage = request.environment_name or "main"
            names = list(request.secrets.names)
            await self._payloads.vault.check(caller.user_id, stage, names)
        environment = await contexts.prepare_build(request, caller.user_id)
        env_id = await builds.key_of(environment)
        yield BuildEnvironmentResult(env_id=env_id)
        state, logs = HostedRunStatus.SUCCESS, []
        try:
            building = builds.build(environment, caller.user_id, again=True)
            async with aclosing(building) as lines:
                async for line in lines:
                    yield BuildEnvironmentResult(env_id=env_id, logs=[to_log(line_of(line))])
        except FalCoreError as error:
            state = HostedRunStatus.INTERNAL_FAILURE
            logs = [to_log(line_of(Log(str(error), "ERROR", "BUILDER", time.time())))]
        yield BuildEnvironmentResult(
            env_id=env_id, logs=logs, status=HostedRunStatus(state=state)
        )

    # -- functions -----------------------------------------------------------------

    async def _call(
        self, run_id: str, request: HostedRun, spec: RunnerSpec, pool: RunnerPool
    ) -> AsyncGenerator[HostedRunResult, None]:
        lines = make_results()
        self._launcher.echoes[run_id] = lines.put_nowait
        task = asyncio.ensure_future(self._calls.call(pool, run_id, request, spec))
        task.add_done_callback(lambda _: lines.put_nowait(None))
        try:
            yield HostedRunResult(status=HostedRunStatus(state=HostedRunStatus.IN_PROGRESS))
            async for result in results_until_end(lines):
                yield result
            try:
                outcome = task.result()
            except NoRunner as error:
                yield told_by_builder(error.__cause__)
                raise refusal_of(str(error), error.__cause__, DidNotStart) from error
            yield finish(outcome)
        finally:
            del self._launcher.echoes[run_id]
            task.cancel()

    # -- applications ----------------------------------------------------------------

    async def _serve(
        self,
        run_id: str,
        request: HostedRun,
        spec: RunnerSpec,
        scaling: Scaling,
        caller: Caller,
        session: str,
    ) -> AsyncGenerator[HostedRunResult, None]:
        alias = f"{spec.name}-{(session or run_id)[:8]}"
        spec = attrs.evolve(spec.bare(), application=alias)
        auth_mode = request.auth_mode if request.HasField("auth_mode") else wire.PUBLIC
        check = self._launcher.hosts.check
        # The engine of containers may have to be found.
        await asyncio.to_thread(check, spec, is_public=auth_mode == wire.PUBLIC)
        lines = make_results()
        ended: list[Runner] = []

        def launch(changed: Callable[[Runner], None]) -> Runner:
            runner = self._launcher.launch(
                spec,
                self._payloads.tidying(changed),
                serves=True,
                starting_request=run_id,
                must_fit=True,
            )

            async def load() -> Message:
                return await self._payloads.make(request, spec, runner)

            serve(runner, load)
            serving.launched(runner)
            return runner

        def follow(runner: Runner) -> None:
            self._catalog.runs[run_id] = runner

        def end(runner: Runner) -> None:
            ended.append(runner)
            lines.put_nowait(None)

        # One runner lives as long as the run; its outcome is the result.
        kept = attrs.evolve(scaling, min_concurrency=max(1, scaling.min_concurrency))
        pool = RunnerPool(kept, launch, patient=False)
        serving = ServingRunner(pool, follow, lines.put_nowait, end)
        application = Application(
            owner=caller.user_id,
            owner_name=caller.nickname,
            alias=alias,
            auth_mode=auth_mode,
            pool=pool,
            ephemeral=True,
        )
        self._catalog.add_ephemeral(application)

        name = echo_key(spec.owner, alias)
        self._launcher.echoes[name] = lines.put_nowait
        try:
            pool.adjust()
            first = self._catalog.runs[run_id]
            reached = HostedRunResult(
                status=HostedRunStatus(state=HostedRunStatus.IN_PROGRESS),
                service_urls=self._urls.service_urls(
                    caller.nickname,
                    alias,
                    PLAYGROUND if caller.is_core else "",
                    server_host=caller.server_host,
                ),
            )
            if caller.is_core:
                self._tasks.spawn(_send_when_ready(first, lines, reached))
            else:
                # Released clients need the URLs at once, and would wait for ever without.
                lines.put_nowait(reached)
            async for result in results_until_end(lines):
                yield result
            outcome = ended[0].outcome.result()
            if outcome.failure:
                yield told_by_builder(ended[0].cause)
                raise refusal_of(outcome.failure, ended[0].cause)
            yield finish(outcome)
        finally:
            del self._launcher.echoes[name]
            self._catalog.runs.pop(run_id, None)
            self._catalog.remove_ephemeral(application)
            pool.kill()
            if session:
                # The next one may need the port.
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(pool.empty.wait(), _LONGEST_END)


async def _send_when_ready(runner: Runner, results: Results, message: HostedRunResult) -> None:
    await runner.ready.wait()
    if runner.is_running:
        results.put_nowait(message)


@attrs.define(eq=False)
class ServingRunner:
    """
    The runner whose end is the end of a run: the first one. If something is wrong with it,
    the pool replaces it, and the run goes on with another.

    Arguments:
        pool: The runners of the run.

        follow: Called with each runner that becomes the one.

        tell: Called with a line for the caller when one was replaced.

        end: Called when the run has ended, with the runner whose outcome is its result.
    """

    pool: RunnerPool
    follow: Callable[[Runner], None]
    tell: Callable[[LogLine], None]
    end: Callable[[Runner], None]
    current: Runner | None = attrs.field(default=None, init=False)

    def launched(self, runner: Runner) -> None:
        """Take a runner that the pool has launched."""
        if self.current is None:
            self._take(runner)

    def _take(self, runner: Runner) -> None:
        self.current = runner
        self.follow(runner)
        runner.outcome.add_done_callback(lambda _: self._ended(runner))

    def _ended(self, runner: Runner) -> None:
        if not runner.is_replaced or self.pool.closed:
            self.end(runner)
            return
        sentence = f"Runner {runner.id} was replaced. {runner.reason or _ASKED}"
        self.tell(line_of(Log(sentence, "WARNING", "BRIDGE", time.time())))
        self.current = None
        # Otherwise the pool launches one after a pause.
        for other in self.pool.live:
            self._take(other)
            break


_ASKED = "A response with status 503, or one that took too long, asked for that."
