"""
How a broken host is declared, and the laws that hosts break together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from fal_core.hosts import Host
from fal_host_local import LocalHost

Make = Callable[[], Host[..., Any]]


@attrs.frozen
class Mutant:
    """
    A broken host.

    Attributes:
        name: What it does wrong.

        make: Makes one.

        breaks: The laws that it is there to break.

        also: Other laws that cannot hold on it, or need not.
    """

    name: str
    make: Make
    breaks: tuple[str, ...]
    also: tuple[str, ...] = ()


def alone(cls: type[Host[..., Any]], breaks: str, *, also: str = "") -> Mutant:
    """
    Declare a broken host that is a whole one; laws are named with blanks between.
    """
    return Mutant(cls.__name__, cls, tuple(breaks.split()), tuple(also.split()))


def around(
    cls: Callable[..., Host[..., Any]],
    breaks: str,
    *args: Any,
    also: str = "",
    inner: Make = LocalHost,
) -> Mutant:
    """
    Declare a broken host around another; *args* say what it does to that.
    """
    words = [cls.__name__, *(getattr(arg, "__name__", str(arg)) for arg in args)]
    if inner is not LocalHost:
        words.append(inner.__name__)
    return Mutant(
        "-".join(words), lambda: cls(inner(), *args), tuple(breaks.split()), tuple(also.split())
    )


#: Laws that wait for a line before they go on.
AWAIT_A_LINE = """
    test_a_line_arrives_while_the_function_runs
    test_a_cancelled_call_ends
    test_a_cancelled_function_runs_no_more
    test_a_function_that_will_not_end_is_ended
    test_children_of_a_cancelled_call_end
    test_a_call_after_a_cancelled_one_works
    test_a_call_that_waits_can_be_cancelled
    test_an_async_function_is_cancelled_as_its_task
    test_cancelling_one_leaves_its_neighbour_alone
    test_detached_work_is_cancelled_from_another_process
    test_lines_of_a_request_name_it
    test_a_server_may_say_itself_when_it_is_ready
"""

#: Laws that ask at the url of a service.
REACH_A_SERVICE = """
    test_a_served_function_answers_at_its_url
    test_services_at_once_have_urls_of_their_own
    test_lines_of_a_request_name_it
    test_a_drained_service_finishes_what_it_does
    test_requests_run_at_once_as_far_as_they_may
    test_a_request_that_takes_too_long_is_answered
    test_a_function_may_bring_its_own_server
    test_a_server_may_say_itself_when_it_is_ready
    test_a_service_is_ready_once_it_says_that_it_is_well
    test_a_service_that_fails_to_start_raises_what_it_raised
"""

#: Laws that look at the reason why a cancelled call ended.
REASONS_OF_CANCELLED_CALLS = """
    test_a_cancelled_call_ends
    test_a_function_that_will_not_end_is_ended
    test_a_call_that_waits_can_be_cancelled
    test_an_async_function_is_cancelled_as_its_task
    test_a_cancelled_result_is_an_error
    test_cancelling_one_leaves_its_neighbour_alone
    test_detached_work_is_cancelled_from_another_process
    test_a_cancelled_service_ends_and_is_reached_no_more
    test_a_function_may_bring_its_own_server
"""

#: Laws that look at the outcomes of items, which may have gone in batches.
OUTCOMES_OF_BATCHES = """
    test_an_error_in_a_batch_is_of_its_item_alone
    test_every_future_has_its_own_result
    test_a_future_raises_what_its_call_raised
    test_results_come_in_the_order_of_the_items
    test_an_unordered_map_gives_every_result_once
    test_a_map_gives_errors_where_they_are_wanted
    test_a_map_raises_the_error_of_an_item
    test_results_before_an_input_that_raises_are_given
    test_a_map_over_endless_items_can_be_left
    test_no_item_of_a_lost_batch_runs_twice
    test_an_async_function_is_awaited
    test_items_of_a_batch_call_home
"""
