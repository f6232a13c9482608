"""Batches: inputs that wait are handled together, and each caller gets its own output."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fal_core_worker.serving import services
from fal_serve.answering.batches import Batched, RequestBatcher, WrongOutputs
from fal_serve.answering.requests import RequestContext, current
from fal_serve.policies.uploads import UploadPolicy


class Recorder:
    """An async handler that records its batches, and pauses while it is held."""

    def __init__(self, change: Callable[[tuple[Any, ...]], Any] = list) -> None:
        self.batches: list[tuple[Any, ...]] = []
        self.change = change
        self.held = asyncio.Event()
        self.begun = asyncio.Event()
        self.running = self.most = 0
        self.cancelled = False

    async def handle(self, *inputs: Any) -> Any:
        self.batches.append(inputs)
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.set()
        try:
            await self.held.wait()
            return self.change(inputs)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.running -= 1


async def begin(
    batcher: RequestBatcher, recorder: Recorder, *inputs: Any
) -> list[asyncio.Task[Any]]:
    """Have the first input occupy the handler, and the others wait for it."""
    tasks = [asyncio.ensure_future(batcher(inputs[0]))]
    await recorder.begun.wait()
    tasks += [asyncio.ensure_future(batcher(each)) for each in inputs[1:]]
    # Let them submit their inputs.
    await asyncio.sleep(0)
    return tasks


def test_batch_is_what_waits_when_the_handler_becomes_free() -> None:
    """The oldest inputs come first, up to the size of a batch."""

    async def scenario() -> None:
        recorder = Recorder()
        batcher = RequestBatcher(recorder.handle, max_batch_size=3)
        tasks = await begin(batcher, recorder, *range(6))
        recorder.held.set()
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4, 5]
        assert recorder.batches == [(0,), (1, 2, 3), (4, 5)]

    asyncio.run(scenario())


def test_batch_has_one_upload_policy() -> None:
    """Inputs whose clients have their files put into different buckets are not handled together."""

    async def scenario() -> None:
        recorder = Recorder()
        batcher = RequestBatcher(recorder.handle, max_batch_size=9)
        first, other = (UploadPolicy(f"https://{each}", {"key": "a"}) for each in "ab")
        policies = (None, None, first, first, other, None)

        async def ask(index: int) -> Any:
            current.set(RequestContext(None, None, None, {}, policies[index]))
            return await batcher(index)

        tasks = [asyncio.ensure_future(ask(0))]
        await recorder.begun.wait()
        tasks += [asyncio.ensure_future(ask(each)) for each in range(1, 6)]
        # Let them submit their inputs.
        await asyncio.sleep(0)
        recorder.held.set()
        assert await asyncio.gather(*tasks) == [*range(6)]
        assert recorder.batches == [(0,), (1,), (2, 3), (4,), (5,)]

    asyncio.run(scenario())


def test_handler_has_one_batch_at_a_time() -> None:
    """A handler never runs twice at once."""

    async def scenario() -> None:
        recorder = Recorder()
        batcher = RequestBatcher(recorder.handle, max_batch_size=1)
        tasks = await begin(batcher, recorder, *range(5))
        # Let the other tasks run.
        for _ in range(5):
            await asyncio.sleep(0)
        recorder.held.set()
        await asyncio.gather(*tasks)
        assert recorder.most == 1

    asyncio.run(scenario())


def test_full_batch_does_not_wait() -> None:
    """The wait ends once the batch is full, however long it is."""

    async def scenario() -> None:
        recorder = Recorder()
        recorder.held.set()
        batcher = RequestBatcher(recorder.handle, max_batch_size=3, wait=3600)
        assert await asyncio.gather(*map(batcher, range(3))) == [0, 1, 2]
        assert recorder.batches == [(0, 1, 2)]

    asyncio.run(scenario())


def test_batch_waits_to_fill_and_goes_without() -> None:
    """Inputs that arrive during the wait join the batch, which then goes though it is not full."""

    async def scenario(wait: float) -> list[tuple[Any, ...]]:
        recorder = Recorder()
        recorder.held.set()
        batcher = RequestBatcher(recorder.handle, max_batch_size=10, wait=wait)
        first = asyncio.ensure_future(batcher("first"))
        # The first waits for others, or has gone alone meanwhile.
        await asyncio.sleep(0.001)
        assert await batcher("second") == "second"
        assert await first == "first"
        return recorder.batches

    # A busy machine may not come as far as the second input in the shorter time.
    assert any(asyncio.run(scenario(wait)) == [("first", "second")] for wait in (0.05, 10))


def test_input_that_waited_for_the_handler_does_not_wait_again() -> None:
    """The wait counts from the arrival of the oldest input, including the handler's time."""

    async def scenario() -> None:
        recorder = Recorder()
        recorder.held.set()
        batcher = RequestBatcher(recorder.handle, max_batch_size=10, wait=0.2)
        ticket = batcher.submit("one")
        ticket.arrived -= 1
        # Let the handler run, but no 0.2 s pass.
        for _ in range(4):
            await asyncio.sleep(0)
        assert ticket.future.result() == "one"

    asyncio.run(scenario())


def test_handler_on_a_thread_is_given_batches_one_at_a_time() -> None:
    """A plain handler runs on a thread, and the event loop is not blocked."""
    release = threading.Event()
    batches: list[tuple[Any, ...]] = []
    threads = set()

    def handle(*inputs: Any) -> list[Any]:
        batches.append(inputs)
        threads.add(threading.get_ident())
        assert release.wait(30)
        return [each * 2 for each in inputs]

    async def scenario() -> None:
        batcher = RequestBatcher(handle, max_batch_size=8)
        tasks = [asyncio.ensure_future(batcher(0))]
        # Until the handler has begun.
        while not batches:
            await asyncio.sleep(0.001)
        tasks += [asyncio.ensure_future(batcher(each)) for each in range(1, 5)]
        # Let the others submit their inputs.
        await asyncio.sleep(0)
        tasks[0].cancel()
        # Nothing must be handed to the handler meanwhile, which still runs.
        await asyncio.sleep(0.01)
        assert len(batches) == 1, "the handler still runs, though nobody waits for it"
        release.set()
        assert await asyncio.gather(*tasks[1:]) == [2, 4, 6, 8]
        assert batches == [(0,), (1, 2, 3, 4)]
        assert threading.get_ident() not in threads

    asyncio.run(scenario())


def test_input_whose_caller_has_gone_is_left_out() -> None:
    """The handler does not receive inputs that nobody waits for."""

    async def scenario() -> None:
        recorder = Recorder()
        batcher = RequestBatcher(recorder.handle, max_batch_size=3)
        tasks = await begin(batcher, recorder, *range(6))
        for index in (1, 4):
            tasks[index].cancel()
        # Let the cancelled tasks end.
        await asyncio.sleep(0)
        recorder.held.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [each for each in results if isinstance(each, int)] == [0, 2, 3, 5]
        assert recorder.batches == [(0,), (2, 3, 5)]

    asyncio.run(scenario())


def test_running_batch_is_cancelled_once_all_its_callers_have_gone() -> None:
    """A remaining caller gets the output; without any, the handler is cancelled."""

    async def scenario() -> None:
        recorder = Recorder()
        batcher = RequestBatcher(recorder.handle, max_batch_size=2)
        pair = [asyncio.ensure_future(batcher(each)) for each in range(2)]
        await recorder.begun.wait()
        assert recorder.batches == [(0, 1)]
        pair[0].cancel()
        # Let the cancelled task end, and the batch notice it.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not recorder.cancelled
        pair[1].cancel()
        await asyncio.gather(*pair, return_exceptions=True)
        recorder.held.set()
        assert await batcher(2) == 2
        assert recorder.cancelled

    asyncio.run(scenario())


def test_errors_are_of_their_items() -> None:
    """An exception among the outputs is raised only in its own caller."""

    def change(inputs: tuple[Any, ...]) -> list[Any]:
        return [ValueError(str(each)) if each % 2 else each for each in inputs]

    async def scenario() -> None:
        recorder = Recorder(change)
        recorder.held.set()
        batcher = RequestBatcher(recorder.handle, max_batch_size=4)
        results = await asyncio.gather(*map(batcher, range(4)), return_exceptions=True)
        assert [str(each) for each in results] == ["0", "1", "2", "3"]
        assert [type(each) for each in results] == [int, ValueError, int, ValueError]

    asyncio.run(scenario())


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("error", [LookupError("all"), SystemExit(3), StopIteration()])
def test_raised_exception_is_every_items(is_async: bool, error: BaseException) -> None:
    """
    An exception that the handler raises reaches all callers, and ends neither the loop nor
    the batcher.
    """
    fail = True

    def handle(*inputs: Any) -> list[Any]:
        if fail:
            raise error
        return list(inputs)

    async def handle_async(*inputs: Any) -> list[Any]:
        return handle(*inputs)

    async def scenario() -> None:
        nonlocal fail
        batcher = RequestBatcher(handle_async if is_async else handle, max_batch_size=4)
        tickets = [batcher.submit(each) for each in range(3)]
        await asyncio.wait([each.future for each in tickets])
        found = {type(each.future.exception()) for each in tickets}
        changed = isinstance(error, StopIteration)
        assert found == {RuntimeError if changed else type(error)}
        fail = False
        assert await batcher(4) == 4

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("outputs", "said"),
    [([1], "it returned 1."), ({"a": 1}, "type 'dict'"), (None, "type 'NoneType'")],
)
def test_wrong_number_of_outputs_is_an_error_that_names_the_handler(
    outputs: Any, said: str
) -> None:
    """The error states the expected and the actual number of outputs."""

    async def embed(*inputs: Any) -> Any:
        return outputs

    async def scenario() -> None:
        batcher = RequestBatcher(embed, max_batch_size=4)
        results = await asyncio.gather(batcher(1), batcher(2), return_exceptions=True)
        for each in results:
            assert isinstance(each, WrongOutputs)
            assert "'embed' was given 2 inputs" in str(each)
            assert said in str(each)

    asyncio.run(scenario())


class Sized:
    """An input that is batched with inputs of its size, up to three."""

    def __init__(self, size: int) -> None:
        self.size = size

    def can_batch(self, other: Sized, length: int) -> bool:
        if other.size < 0:
            raise ValueError("no such size")
        return other.size == self.size and length < 3


def test_input_says_what_it_goes_with() -> None:
    """An input that ``can_batch`` of the first one refuses begins the next batch."""

    async def scenario() -> None:
        recorder = Recorder(lambda inputs: [each.size for each in inputs])
        recorder.held.set()
        batcher = RequestBatcher(recorder.handle, max_batch_size=10)
        sizes = [1, 1, 2, 2, 2, 2, 1]
        assert await asyncio.gather(*(batcher(Sized(each)) for each in sizes)) == sizes
        taken = [[each.size for each in batch] for batch in recorder.batches]
        assert taken == [[1, 1], [2, 2, 2], [2], [1]]

    asyncio.run(scenario())


def test_can_batch_that_fails_is_the_error_of_its_input() -> None:
    """The other inputs are handled without it."""

    async def scenario() -> None:
        recorder = Recorder(lambda inputs: [each.size for each in inputs])
        recorder.held.set()
        batcher = RequestBatcher(recorder.handle, max_batch_size=10)
        inputs = [Sized(1), Sized(1), Sized(-1)]
        results = await asyncio.gather(*map(batcher, inputs), return_exceptions=True)
        assert [str(each) for each in results] == ["no such size", "no such size", "-1"]

    asyncio.run(scenario())


def test_batch_has_the_request_ids_of_all() -> None:
    """Lines that the handler prints have the request ids of the whole batch."""
    seen: list[str] = []

    async def handle(*inputs: Any) -> list[Any]:
        seen.append(services.request_id.get())
        return list(inputs)

    async def ask(batcher: RequestBatcher, number: int) -> None:
        services.request_id.set(f"id-{number}")
        await batcher(number)

    async def scenario() -> None:
        batcher = RequestBatcher(handle, max_batch_size=3)
        await asyncio.gather(*(ask(batcher, each) for each in range(3)))
        await ask(batcher, 7)

    asyncio.run(scenario())
    assert seen == ["id-0,id-1,id-2", "id-7"]


def test_handler_that_is_cancelled_from_within_is_an_error() -> None:
    """Its callers get an error, and do not count as cancelled."""

    async def handle(*inputs: Any) -> list[Any]:
        raise asyncio.CancelledError

    async def scenario() -> None:
        with pytest.raises(RuntimeError, match="CancelledError"):
            await RequestBatcher(handle, max_batch_size=2)(1)

    asyncio.run(scenario())


def test_each_loop_has_a_batcher() -> None:
    """A handler can serve in one event loop after another."""

    async def double(*inputs: int) -> list[int]:
        return [each * 2 for each in inputs]

    together = Batched(double, max_batch_size=4, wait=0.0)
    assert together.__name__ == "double"
    for _ in range(2):
        assert asyncio.run(together(4)) == 8


def test_nothing_is_left_when_the_inputs_have_been_answered() -> None:
    """A batcher without inputs has no task."""

    async def handle(*inputs: Any) -> list[Any]:
        return list(inputs)

    async def scenario() -> None:
        batcher = RequestBatcher(handle, max_batch_size=2, wait=0.001)
        await asyncio.gather(*map(batcher, range(5)))
        # Let the batcher's own tasks end.
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
