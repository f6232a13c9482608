"""Calls in warm workers: shared memory."""

from __future__ import annotations

import os

import pytest

from fal_core import function
from fal_testing.harness.processes import wait_until


def arena_sizes() -> list[int]:
    """Return the sizes of the arenas that this process has open."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if "memfd:fal-core" in os.readlink(f"/proc/self/fd/{name}"):
                found.append(os.stat(f"/proc/self/fd/{name}").st_size)
        except FileNotFoundError:
            pass
    return found


def test_large_arrays_are_read_in_place(host):
    """
    Large buffers come through shared memory, and keep their values as long as they are
    referenced.
    """
    numpy = pytest.importorskip("numpy")
    double = function("current", host=host)(lambda array: array * 2)

    results = [double(numpy.full(200_000, number)) for number in range(40)]

    assert [int(result[-1]) for result in results] == [2 * number for number in range(40)]


def test_shared_memory_is_used_again(host):
    """Blocks whose views have died are used again: arenas do not grow."""
    numpy = pytest.importorskip("numpy")
    same = function("current", host=host)(lambda array: array)
    array = numpy.ones(1 << 20)

    for _ in range(3):
        same(array)
    before = arena_sizes()
    for _ in range(100):
        same(array)

    assert before
    # Workers of other hosts may end meanwhile, and theirs go with them.
    assert sum(arena_sizes()) <= sum(before)


def test_functions_may_refer_to_large_arrays(host):
    """A function that refers to an array of any size has it in the worker."""
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(1 << 16)
    isolated = function("current", host=host)(lambda: int(array.sum()))

    assert isolated() == int(array.sum())


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_large_bytes_come_through_shared_memory(host, kind):
    """
    Large bytes arrive whole and of their type. Shared memory is used for them, and used
    again; a bytearray can be resized as soon as the call has ended.
    """
    same = function("current", host=host)(lambda value: value)
    data = os.urandom(1 << 20) * 2
    value = kind(data)
    same(value)
    before = arena_sizes()
    # More than an arena holds.
    for _ in range(40):
        answer = same([value, {"again": value}])
        assert answer == [data, {"again": data}]
        assert type(answer[0]) is kind
        assert answer[0] is answer[1]["again"]
        if kind is bytearray:
            value.append(1)
            value.pop()
    assert before
    assert sum(arena_sizes()) <= sum(before)


def test_values_are_let_go_once_a_call_has_ended(host):
    """What a submitted call was given can be resized soon after its future is done."""
    length = function("current", host=host)(len)
    value = bytearray(1 << 20)
    future = length.submit(value)
    assert future.result(timeout=60) == 1 << 20

    def resize() -> bool:
        try:
            value.append(1)
        except BufferError:
            # The thread that has sent it is about to let it go.
            return False
        return True

    assert wait_until(resize, 60)
    assert length.submit(value).result(timeout=60) == 1 + (1 << 20)
