"""Turns: the limit on how many requests are worked on at once."""

import asyncio
from typing import Any

from fal_serve.answering.turns import RequestTurns

PATIENCE = 60


def test_turn_of_a_handler_that_never_ends_is_given_to_another(monkeypatch, caplog):
    """An abandoned call keeps its turn only for a while; then it is passed on, with a warning."""
    monkeypatch.setattr("fal_serve.answering.turns.PATIENCE", 0.05)

    async def play() -> None:
        turns = RequestTurns(1)
        calls: list[asyncio.Future[None]] = []
        for _ in range(2):
            calls = [asyncio.get_running_loop().create_future() for _ in range(2)]
            assert turns.take()
            turns.give_back_after(calls)
            assert not turns.take()
            # Until the turn has been given back.
            while not turns.take():
                await asyncio.sleep(0.01)
            # Those that end later give nothing back a second time.
            for call in calls:
                call.set_result(None)
            # Let the callbacks of the calls run.
            await asyncio.sleep(0)
            assert not turns.take()
            turns.give_back()

    asyncio.run(play())
    said = [record.levelname for record in caplog.records if record.name == "fal_serve"]
    assert said == ["WARNING"] * 2


def test_turn_is_not_lost_with_who_was_to_have_it():
    """A request that is cancelled at the moment it gets its turn passes the turn on."""

    async def play() -> None:
        turns = RequestTurns(1)
        assert turns.take()

        async def receive() -> Any:
            # A client that stays; ends by being cancelled.
            await asyncio.sleep(60)

        first = asyncio.ensure_future(turns.wait(receive))
        second = asyncio.ensure_future(turns.wait(receive))
        # Let both wait for a turn.
        await asyncio.sleep(0)
        assert turns.waiting() == 2
        turns.give_back()
        first.cancel()
        came = await asyncio.wait_for(second, PATIENCE)
        assert came is not None
        came.close()
        turns.give_back()
        assert turns.take()
        assert not turns.take()

    asyncio.run(play())
