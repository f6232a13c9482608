"""Measurements: how requests are counted, and for how long that is kept."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_server.activity.measurements import KEPT, Measurements, Tally, merge_all
from fal_server.state.databases import Database

DURATIONS = st.lists(st.floats(0.001, 7000), min_size=1, max_size=50)


@given(durations=DURATIONS, share=st.sampled_from([0.5, 0.95, 1.0]))
def test_percentile_is_about_right(durations: list[float], share: float):
    """A percentile is within about a tenth of the duration that it stands for."""
    tally = Tally()
    for each in durations:
        tally.observe(each, failed=False)
    place = max(0, -(-int(share * 100) * len(durations) // 100) - 1)
    right = sorted(durations)[place]
    found = tally.percentile(share)

    assert found is not None
    assert right / 1.21 <= found <= right * 1.21


@given(parts=st.lists(DURATIONS, min_size=1, max_size=4))
def test_parts_make_up_the_whole(parts: list[list[float]]):
    """What was counted in parts is what would have been counted at once."""
    tallies = [Tally() for _ in parts]
    whole = Tally()
    for tally, durations in zip(tallies, parts, strict=True):
        for each in durations:
            tally.observe(each, failed=each > 1)
            whole.observe(each, failed=each > 1)

    assert merge_all(tallies) == whole


def test_nothing_has_no_percentile():
    """Where there was no request there is no duration."""
    assert Tally().percentile(0.5) is None


def test_rows_are_added_up_and_end(database: Database):
    """
    What comes in the same length of time is added to its row, and rows that are too old are
    deleted, the short ones first.
    """

    async def work() -> None:
        stored, now = Measurements(database), 1_800_000_000.0
        tally = Tally(runners=2)
        tally.observe(0.2, failed=True)
        for _ in range(2):
            await stored.add({("account", "app"): tally}, now)
        for step in KEPT:
            (found,) = await stored.read("account", "app", step, 0)
            assert found.begun_at == now // step * step
            assert (found.tally.requests, found.tally.errors, found.tally.runners) == (2, 2, 2)
            assert await stored.read("other", "app", step, 0) == []
        await stored.delete_old(now + KEPT[15] + 16)
        kept = [len(await stored.read("account", "app", step, 0)) for step in KEPT]
        assert kept == [0, 1, 1]

    asyncio.run(work())


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (0.001, 0), (1e9, 86)])
def test_longest_and_shortest(seconds: float, bucket: int):
    """No duration is too short or too long."""
    tally = Tally()
    tally.observe(seconds, failed=False)
    assert list(tally.durations) == [bucket]
