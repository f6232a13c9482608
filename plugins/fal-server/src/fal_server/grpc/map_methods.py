"""The gRPC method that maps a function over inputs."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import attrs
from isolate_proto import HostedMap, HostedRun, HostedRunResult, HostedRunStatus

from fal_server.access.callers import Caller
from fal_server.errors import Invalid, TooLarge
from fal_server.fleet.call_outcomes import CallOutcome
from fal_server.grpc.function_calls import FunctionCalls, make_run_id
from fal_server.grpc.run_results import (
    DidNotStart,
    failed,
    finish,
    make_results,
    printed,
    refusal_of,
    told_by_builder,
)
from fal_server.limits import option_of
from fal_server.logs.line_buffers import LineQueue
from fal_server.logs.log_lines import LogLine
from fal_server.routing.refusals import NoRunner

#: How many inputs run at once where the request names no most, and at most.
_USUAL, _MOST = 10, 100

#: How many inputs begin before the first one that has no result yet ends, for each that runs.
_AHEAD = 4

#: The bytes of results that wait for an earlier one, above which no input begins.
_LARGEST_WAITING = 64 << 20


class MapMethods:
    """
    The method that maps a function over inputs.

    Arguments:
        most: How many inputs a call may have.
    """

    def __init__(self, calls: FunctionCalls, most: int) -> None:
        self._calls = calls
        self._most = most

    async def Map(
        self, request: HostedMap, caller: Caller
    ) -> AsyncGenerator[HostedRunResult, None]:
        """
        Call a function with each input, several at once, and yield the results in the order of
        the inputs, and log lines as they come.

        Each input is a run of its own, by whose id its messages are told apart.
        """
        if len(request.inputs) > self._most:
            raise TooLarge(
                f"The call has {len(request.inputs)} inputs, and may have {self._most}. Make "
                "several calls; the operator of the server can allow more with "
                f"{option_of('most_inputs')}."
            )
        if request.machine_requirements.HasField("exposed_port"):
            raise Invalid("A function that serves on a port has no inputs to be called with.")
        run = _run_of(request)
        spec, scaling = await self._calls.read(run, caller)
        pool = self._calls.functions.find(spec, scaling)
        map_id, env_id = make_run_id(), await self._calls.functions.environment_id(pool, spec)
        is_given = request.machine_requirements.HasField("max_concurrency")
        at_once = min((is_given and scaling.max_concurrency) or _USUAL, _MOST)

        def call(run_id: str, argument: Any) -> Coroutine[Any, Any, CallOutcome]:
            return self._calls.call(pool, run_id, run, spec, argument)

        echoes = self._calls.launcher.echoes
        mapped = _MappedCalls(map_id, call, echoes, request.inputs, at_once)
        async with aclosing(mapped.results()) as results:
            async for result in results:
                result.env_id = env_id
                yield result


def _run_of(request: HostedMap) -> HostedRun:
    """Return the run of the function of *request*."""
    run = HostedRun(
        environments=request.environments, machine_requirements=request.machine_requirements
    )
    kind = request.WhichOneof("callable")
    if kind == "function":
        run.function.CopyFrom(request.function)
    elif kind == "entrypoint":
        run.entrypoint = request.entrypoint
    if request.HasField("run_on_main_thread"):
        run.run_on_main_thread = request.run_on_main_thread
    return run


@attrs.define(eq=False)
class _MappedCalls:
    """
    The calls of one map, of which some run at once.

    Arguments:
        call: Calls the function for a run, with an input.

        echoes: Callbacks for log lines, by the ids of runs.

        at_once: How many run at once.
    """

    map_id: str
    _call: Callable[[str, Any], Coroutine[Any, Any, CallOutcome]]
    _echoes: dict[str, Callable[[LogLine], None]]
    _inputs: Sequence[Any]
    _at_once: int
    _begun: int = attrs.field(default=0, init=False)
    #: Those whose results are still to be yielded, in the order of the inputs, by their runs.
    _tasks: dict[str, asyncio.Task[CallOutcome]] = attrs.field(factory=dict, init=False)
    #: Those that have ended, and all of whose lines were taken.
    _ended: set[str] = attrs.field(factory=set, init=False)
    #: Lines, and the ids of runs that have ended.
    _queue: LineQueue[str] = attrs.field(factory=make_results, init=False)

    async def results(self) -> AsyncGenerator[HostedRunResult, None]:
        """
        Yield the messages of all calls.

        Raises:
            Refusal: No runner could be started for an input.
        """
        state = HostedRunStatus(state=HostedRunStatus.IN_PROGRESS)
        yield HostedRunResult(run_id=self.map_id, status=state)
        try:
            while self._begin():
                for message in self._sort(await self._queue.take()):
                    yield message
                for message in self._take_first():
                    yield message
        finally:
            for run_id, task in self._tasks.items():
                self._echoes.pop(run_id, None)
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _begin(self) -> bool:
        """Begin as many calls as may run now, and return whether any is left."""
        while self._begun < len(self._inputs) and self._has_room:
            run_id = f"{self.map_id}-{self._begun}"
            self._echoes[run_id] = self._queue.put_nowait
            task = asyncio.ensure_future(self._call(run_id, self._inputs[self._begun]))
            task.add_done_callback(functools.partial(self._finish, run_id))
            self._tasks[run_id] = task
            self._begun += 1
        return bool(self._tasks)

    @property
    def _has_room(self) -> bool:
        ended = [task for task in self._tasks.values() if task.done()]
        if len(self._tasks) - len(ended) >= self._at_once:
            return False
        if any(task.cancelled() or task.exception() for task in ended):
            # Its turn comes, and the others would fare no better.
            return False
        waiting = sum(len(task.result().data) for task in ended)
        return len(self._tasks) < _AHEAD * self._at_once and waiting < _LARGEST_WAITING

    def _finish(self, run_id: str, _: asyncio.Task[CallOutcome]) -> None:
        self._queue.put_nowait(run_id)

    def _sort(self, taken: Sequence[LogLine | str]) -> Iterator[HostedRunResult]:
        """Yield the lines among what was *taken*, each message with those of one run."""
        for (run_id, are_lines), items in itertools.groupby(taken, self._owner_of):
            if are_lines:
                message = printed([each for each in items if isinstance(each, LogLine)])
                message.run_id = run_id
                yield message
            else:
                self._ended.add(run_id)
                self._echoes.pop(run_id, None)

    def _owner_of(self, item: LogLine | str) -> tuple[str, bool]:
        """Return the run of an item, and whether it is a line."""
        if isinstance(item, LogLine):
            # Of lines that were dropped, a note tells that may stand for several runs.
            return item.request_id or self.map_id, True
        return item, False

    def _take_first(self) -> Iterator[HostedRunResult]:
        """Yield the results that no earlier one is still to come for."""
        while self._tasks and (run_id := next(iter(self._tasks))) in self._ended:
            self._ended.remove(run_id)
            try:
                outcome = self._tasks.pop(run_id).result()
            except NoRunner as error:
                yield told_by_builder(error.__cause__)
                raise refusal_of(str(error), error.__cause__, DidNotStart) from error
            message = failed(outcome.failure) if outcome.failure else finish(outcome)
            message.run_id = run_id
            yield message
