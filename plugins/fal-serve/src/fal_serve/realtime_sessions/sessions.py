"""
Sessions between a client and a realtime handler over one websocket.

The mode of the route says how its handler is used:

    unary               an output for each input, in the order of the inputs
    server_streaming    one input, and outputs as the handler yields them
    client_streaming    the handler iterates over the inputs, and returns one output
    bidi                it iterates over the inputs, and yields outputs at any time

If the client disconnects, an ``async def`` handler is cancelled, a handler that waits
for inputs sees the end of its iteration, and a generator is closed. A handler on a
thread cannot be cancelled, but can call ``request_cancelled()``.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.answering.batches import Batched, is_async
from fal_serve.answering.cancellation import connection
from fal_serve.answering.iterations import iterate
from fal_serve.answering.logs import describe_unexpected, log_error
from fal_serve.answering.threads import run_on_thread
from fal_serve.realtime_sessions.channels import Channel, ClientGone, Drained, Idle
from fal_serve.realtime_sessions.inputs import BufferedInputs, Inputs
from fal_serve.realtime_sessions.pipelines import BatchedPipeline, BufferedPipeline
from fal_serve.realtime_sessions.refusals import ENDED, FAILED, RESTARTED, Refused, refusal_of


@dataclass(frozen=True)
class RealtimeRoute:
    """
    What all sessions of one route share.

    Arguments:
        handler: Called with inputs as the mode defines.

        together: The handler as a callable with a single input, if it takes batches of
            many sessions.

        leads_batch: Whether it takes batches of one session.

        decode: Returns the input for what the client sent; raises Refused.

        encode: Returns the bytes or text of an output.
    """

    signature: RouteSignature
    handler: Callable[..., Any]
    together: Batched | None
    leads_batch: bool
    decode: Callable[[bytes | str], Any]
    encode: Callable[[Any], bytes | str]


class RealtimeSession:
    """One connection of a client."""

    def __init__(self, route: RealtimeRoute, receive: Any, send: Any) -> None:
        self._route = route
        self._signature = route.signature
        self._handler = route.handler
        self._channel = Channel(
            receive,
            send,
            decode=route.decode,
            encode=route.encode,
            timeout=route.signature.session_timeout,
        )

    async def run(self) -> None:
        """Serve the client until either side ends the session."""
        channel = self._channel
        connection.set((channel.listen, asyncio.get_running_loop()))
        try:
            await channel.open()
            await self._converse()
        except ClientGone:
            await channel.close()
        except Drained:
            await channel.close(RESTARTED)
        except Idle:
            seconds = self._signature.session_timeout
            await channel.refuse(
                Refused("TIMEOUT", f"There was no input for {seconds:g} s.", ENDED)
            )
        except asyncio.CancelledError as error:
            if channel.absorb():
                await channel.close()
            elif _is_own(error):
                await self._fail(error)
            else:
                await channel.close(RESTARTED)
                raise
        except BaseException as error:
            await self._fail(error)
        else:
            await channel.close()

    async def _fail(self, error: BaseException) -> None:
        refusal = error if isinstance(error, Refused) else refusal_of(error)
        if refusal is None:
            log_error(error, "The realtime handler failed.")
            refusal = Refused("INTERNAL_ERROR", describe_unexpected(), FAILED)
        await self._channel.refuse(refusal)

    async def _converse(self) -> None:
        signature, mode = self._signature, self._signature.realtime_mode
        if mode == "server_streaming":
            await self._stream_outputs(await self._channel.read())
        elif mode == "client_streaming":
            await self._collect_inputs()
        elif mode == "bidi":
            await self._exchange()
        elif self._route.together is not None:
            batcher = self._route.together.batcher
            await BatchedPipeline(self._channel, self._answer, signature, batcher).run()
        elif signature.buffering is not None or self._route.leads_batch:
            call = self._find_call()
            await BufferedPipeline(self._channel, self._answer, signature, call).run()
        else:
            await self._answer_each()

    def _find_call(self) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Return the handler as a coroutine function, which uses a thread for a plain one."""
        if is_async(self._handler):
            return self._handler
        self._channel.interruptible = False
        return self._call_on_thread

    async def _call_on_thread(self, *inputs: Any) -> Any:
        output = await run_on_thread(self._handler, *inputs)
        return await output if inspect.isawaitable(output) else output

    async def _answer(self, output: Any, seconds: float) -> None:
        """Send the output of one input."""
        await self._channel.write(output)
        if self._signature.emit_timings:
            await self._tell_timing(seconds)

    async def _answer_each(self) -> None:
        """Answer one input after the other, without a buffer."""
        call, read, write = self._find_call(), self._channel.read, self._channel.write
        timed = self._signature.emit_timings
        while True:
            input = await read()
            if timed:
                began = time.perf_counter()
                output = await call(input)
                await self._answer(output, time.perf_counter() - began)
            else:
                await write(await call(input))

    async def _stream_outputs(self, input: Any) -> None:
        began = time.perf_counter()
        handler = self._handler
        if is_async(handler) or _is_generator(handler):
            produced = handler(input)
        else:
            self._channel.interruptible = False
            produced = await run_on_thread(handler, input)
        await self._write_all(produced)
        if self._signature.emit_timings:
            await self._tell_timing(time.perf_counter() - began)

    async def _collect_inputs(self) -> None:
        began = time.perf_counter()
        async with self._open_inputs() as inputs:
            output = await self._handler(inputs)
            await self._answer(output, time.perf_counter() - began - inputs.waited)

    async def _exchange(self) -> None:
        async with self._open_inputs() as inputs:
            await self._write_all(self._handler(inputs), inputs)

    def _open_inputs(self) -> Inputs:
        buffering = self._signature.buffering
        if buffering is None:
            return Inputs(self._channel)
        return BufferedInputs(self._channel, buffering)

    async def _write_all(self, produced: Any, inputs: Inputs | None = None) -> None:
        """
        Send the outputs in *produced* as they come.

        Arguments:
            inputs: The inputs of a stream in both directions. Each output is then timed.
        """
        timed = inputs if self._signature.emit_timings else None
        if inspect.isawaitable(produced):
            produced = await produced
        self._channel.interruptible = hasattr(produced, "__aiter__")
        outputs = iterate(produced)
        try:
            if timed is None:
                async for output in outputs:
                    await self._channel.write(output)
            else:
                await self._write_timed(outputs, timed)
        finally:
            await outputs.aclose()

    async def _write_timed(self, outputs: AsyncIterator[Any], inputs: Inputs) -> None:
        began, waited = time.perf_counter(), inputs.waited
        async for output in outputs:
            seconds = time.perf_counter() - began
            await self._answer(output, seconds - (inputs.waited - waited))
            began, waited = time.perf_counter(), inputs.waited

    async def _tell_timing(self, seconds: float) -> None:
        facts = {"type": "x-fal-message", "action": "timings", "timing": seconds}
        await self._channel.tell(facts)


def _is_generator(handler: Callable[..., Any]) -> bool:
    """Tell whether calling *handler* returns a generator, sync or async."""
    return inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler)


def _is_own(error: asyncio.CancelledError) -> bool:
    """Tell whether the handler raised the cancellation, and nobody has cancelled this task."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)  # Python 3.11
    return cancelling is not None and not cancelling()
