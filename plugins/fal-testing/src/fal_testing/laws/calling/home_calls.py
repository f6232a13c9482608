"""Laws of calls to home: isolated functions that call others."""

from __future__ import annotations

from collections.abc import Iterator

from fal_core import function
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect
from fal_testing.harness.identities import make_identify
from fal_testing.harness.marks import Isolated
from fal_testing.hosts.in_process import InProcessHost

LOOK = (
    "Send on HomeCall as an event, and give the Reply that Execution.send gets to the worker; "
    "both may come at any time while the call runs."
)


@requires("home_calls")
def test_a_function_of_another_place_is_called_at_home(isolated: Isolated) -> None:
    """A function calls one that runs elsewhere, and the launching process runs it."""

    identify = make_identify()

    @function("current", host=InProcessHost())
    def at_home(number: int) -> tuple[str, int]:
        return identify(), number + 1

    @isolated()
    def ask_home(number: int) -> tuple[str, int]:
        return at_home(number)

    what = "The process and the result of a function that was called at home"
    expect(ask_home(1), (identify(), 2), what, LOOK)


@requires("home_calls")
def test_an_error_at_home_arrives_as_itself(isolated: Isolated) -> None:
    """An exception of a function that was called at home is raised where it was called."""

    @function("current", host=InProcessHost())
    def at_home() -> None:
        raise LookupError("gone")

    @isolated()
    def outer() -> str:
        try:
            at_home()
        except LookupError as error:
            return str(error)
        return "nothing"

    expect(outer(), "gone", "The message of the error that a call at home raised", LOOK)


@requires("home_calls")
def test_a_call_to_home_leaves_room_for_others(isolated: Isolated) -> None:
    """
    A function that waits for a call at home takes no place: recursion does not block.

    That holds with ``max_concurrency=1`` too, where the call comes back to the same host.
    """

    @isolated(max_concurrency=1)
    def outer(number: int) -> int:
        return number + between(number - 1) if number else 0

    @function("current", host=InProcessHost())
    def between(number: int) -> int:
        return int(outer(number))

    look = "A call that waits for home leaves its place to others: after HomeCall, until Reply."
    expect(outer(2), 3, "The result of a recursion through home", look)


@requires("home_calls", "stream")
def test_a_generator_calls_home(isolated: Isolated) -> None:
    """A generator calls a function at home between two items."""

    @function("current", host=InProcessHost())
    def at_home(number: int) -> int:
        return number * 10

    @isolated()
    def yield_from_home() -> Iterator[int]:
        for number in range(3):
            yield at_home(number)

    what = "The items of a generator that calls home for each"
    expect(list(yield_from_home()), [0, 10, 20], what, LOOK)


@requires("home_calls", "batch")
def test_items_of_a_batch_call_home(isolated: Isolated) -> None:
    """Each item of a batch can call a function at home."""

    @function("current", host=InProcessHost())
    def at_home(number: int) -> int:
        return number * 10

    @isolated()
    def ask_home_each(number: int) -> int:
        return at_home(number) + 1

    expect(
        list(ask_home_each.map(range(12))),
        [number * 10 + 1 for number in range(12)],
        "The results of a map whose items call home",
        LOOK,
    )
