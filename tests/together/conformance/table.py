"""
Which broken host breaks which laws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import mutants as m
from serving_mutants import SERVING

from fal_core.hosts import Host
from fal_core.testing import InProcessHost
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


def around(cls: Callable[..., Host[..., Any]], *args: Any) -> Make:
    """
    Return what makes a broken host around a local one.
    """
    return lambda: cls(LocalHost(), *args)


def around_threads(cls: Callable[..., Host[..., Any]], *args: Any) -> Make:
    """
    Return what makes a broken host around the reference host.
    """
    return lambda: cls(InProcessHost(), *args)


def _mutant(make: Make, breaks: str, name: str) -> Mutant:
    return Mutant(name, make, tuple(breaks.split()), ALSO.get(name, ()))


def _around(cls: Any, breaks: str, *args: Any) -> Mutant:
    return _mutant(around(cls, *args), breaks, _name(cls, *args))


def _name(cls: Any, *args: Any) -> str:
    words = [cls.__name__, *(getattr(arg, "__name__", str(arg)) for arg in args)]
    return "-".join(words)


#: For each broken host what it cannot help breaking as well.
ALSO: dict[str, tuple[str, ...]] = {
    # Functions of laws that give something else each time, or in each environment.
    "Memoizes": (
        "test_functions_do_not_share_their_requirements",
        "test_a_map_over_endless_items_can_be_left",
        "test_a_lost_call_is_run_again_where_it_is_asked_for",
        "test_large_values_travel_both_ways",
    ),
    # Laws that wait for a line before they go on.
    "LosesTheLastLine": ("test_children_of_a_cancelled_call_end",),
    "ForgetsLogsOfErrors": (
        "test_a_cancelled_call_ends",
        "test_a_cancelled_function_runs_no_more",
        "test_a_function_that_will_not_end_is_ended",
        "test_children_of_a_cancelled_call_end",
        "test_a_call_after_a_cancelled_one_works",
        "test_a_call_that_waits_can_be_cancelled",
        "test_an_async_function_is_cancelled_as_its_task",
    ),
    "ForgetsWhatWasStarted": ("test_a_map_over_endless_items_can_be_left",),
}

MUTANTS = (
    # Calls.
    _around(m.TurnsBytesIntoText, "test_a_result_comes_back"),
    _around(m.DropsKeywords, "test_arguments_arrive_by_position_and_by_name"),
    _around(m.RefusesLargeArguments, "test_large_values_travel_both_ways"),
    _around(m.ReversesBuffers, "test_large_buffers_travel_both_ways"),
    _around(m.Memoizes, "test_every_call_gets_its_own_result"),
    _around(
        m.MixesCallsAtOnce,
        "test_calls_of_many_threads_do_not_mix test_calls_can_be_awaited",
    ),
    _around(m.KnowsFunctionsByName, "test_functions_of_one_name_are_told_apart"),
    _around(m.RunsTwice, "test_a_call_runs_once"),
    _around(
        m.CopiesClasses,
        "test_a_class_stays_the_same_class test_values_travel_between_environments",
    ),
    _around(m.HidesWhatCannotTravel, "test_a_result_that_cannot_travel_is_an_error"),
    _around(m.IgnoresSetup, "test_the_result_of_the_setup_is_the_first_argument"),
    # Errors.
    _around(m.JoinsErrorArguments, "test_an_error_arrives_as_itself"),
    _around(m.StripsTracebacks, "test_the_remote_traceback_is_the_cause"),
    _around(m.SwallowsTheClass, "test_an_error_of_the_callers_class_is_of_that_class"),
    _around(
        m.FlattensUnknownErrors,
        "test_an_error_of_an_unknown_class_keeps_its_name_and_bases",
    ),
    _around(m.ForgetsCauses, "test_what_caused_an_error_is_kept"),
    _around(m.TakesExitsForCrashes, "test_an_exit_of_the_function_is_an_error"),
    _around(m.TakesInterruptsForItsOwn, "test_an_interrupt_of_the_function_is_an_error"),
    _around(m.GivesUpOn, "test_a_call_after_an_error_works", m.is_error),
    _around(m.BreaksOffBatches, "test_an_error_in_a_batch_is_of_its_item_alone"),
    # Logs.
    _around(m.ChangesLogs, "test_lines_arrive_before_the_result", m.loses_some_lines),
    _around(
        m.LosesTheLastLine,
        "test_lines_arrive_before_the_result test_a_long_line_arrives_whole",
    ),
    _around(m.ReturnsBeforeTheLogs, "test_lines_arrive_before_the_result"),
    _mutant(m.NeedsLineEnds, "test_the_last_line_needs_no_end", "NeedsLineEnds"),
    _mutant(
        around_threads(m.ForgetsLogsOfErrors),
        "test_lines_before_an_error_arrive",
        "ForgetsLogsOfErrors-threads",
    ),
    _around(m.ForgetsLogsOfErrors, "test_lines_before_a_crash_arrive"),
    _around(m.ChangesLogs, "test_errors_are_printed_as_such", m.prints_all_alike),
    _around(m.ChangesLogs, "test_lines_arrive_as_they_were_printed", m.drops_empty_lines),
    _around(m.ChangesLogs, "test_a_long_line_arrives_whole", m.cuts_long_lines),
    _around(m.ChangesLogs, "test_many_lines_arrive", m.stops_after_many),
    _around(m.ChangesLogs, "test_lines_name_their_call", m.forgets_the_call),
    _around(m.ChangesLogs, "test_lines_of_a_batch_name_their_item", m.forgets_the_item),
    _around(m.ChangesLogs, "test_lines_name_their_time", m.forgets_the_time),
    _around(m.HoldsLogsBack, "test_a_line_arrives_while_the_function_runs"),
    _around(
        m.Wraps,
        "test_lines_printed_below_python_arrive test_lines_of_child_processes_arrive",
        m.closes_descriptors,
    ),
    _around(
        m.ChangesLogs, "test_bytes_that_are_no_text_arrive_readable", m.drops_what_is_no_text
    ),
    # Events.
    _around(m.ReportsAfterTheEnd, "test_nothing_follows_the_end"),
    _around(m.ReportsOutcomesTwice, "test_there_is_one_outcome"),
    _around(m.TakesErrorsForItsOwn, "test_an_error_is_an_outcome"),
    _around(m.DeliversAtOnce, "test_events_come_one_at_a_time"),
    _around(m.SaysNoPhases, "test_a_call_says_when_it_runs"),
    _around(m.LaunchWaits, "test_launching_does_not_wait"),
    _around(m.NamesAllAlike, "test_executions_have_names_of_their_own"),
    # Futures and maps.
    _around(
        m.ChangesBatches,
        "test_every_future_has_its_own_result test_results_come_in_the_order_of_the_items",
        m.reverses,
    ),
    _around(
        m.HidesErrorsOfItems,
        "test_a_future_raises_what_its_call_raised "
        "test_a_map_gives_errors_where_they_are_wanted test_a_map_raises_the_error_of_an_item",
        m.hides_errors,
    ),
    _around(
        m.ChangesBatches,
        "test_an_unordered_map_gives_every_result_once "
        "test_results_before_an_input_that_raises_are_given",
        m.loses_the_last,
    ),
    _around(
        m.ChangesLogs,
        "test_a_spawned_call_can_be_followed test_detached_work_gives_its_result",
        m.drops_where_nobody_waits,
    ),
    _around(m.HidesErrorsOfSpawns, "test_a_spawned_call_raises_what_it_raised"),
    _around(m.SaysAllAreReady, "test_a_spawned_call_that_serves_nothing_has_no_url"),
    # Streams.
    _around(
        m.LosesAnItem,
        "test_every_item_of_a_stream_arrives_in_order test_an_async_generator_is_a_stream "
        "test_a_spawned_generator_gives_a_list",
        30,
    ),
    _mutant(
        m.AsyncGeneratorsAsLists,
        "test_an_async_generator_is_a_stream test_streams_can_be_iterated_over_asynchronously",
        "AsyncGeneratorsAsLists",
    ),
    _around(m.HoldsItemsBack, "test_an_item_arrives_while_the_generator_runs"),
    _around(m.ForgetsItemsOfErrors, "test_items_before_an_error_arrive"),
    _around(m.NeverHoldsBack, "test_a_generator_is_held_back"),
    _around(m.LogsAfterItems, "test_lines_and_items_arrive_in_order"),
    _around(m.IgnoresCancel, "test_a_closed_stream_ends", m.is_stream),
    # Async functions.
    _mutant(
        m.NeverAwaits,
        "test_an_async_function_is_awaited test_an_async_function_raises_what_it_raised",
        "NeverAwaits",
    ),
    # Cancelling.
    _around(m.TakesCancelForCrash, "test_a_cancelled_call_ends"),
    _around(m.ForgesCancel, "test_a_cancelled_function_runs_no_more"),
    _around(m.NeverKills, "test_a_function_that_will_not_end_is_ended"),
    _mutant(
        m.LeavesChildren,
        "test_children_of_a_cancelled_call_end test_children_of_a_lost_worker_end",
        "LeavesChildren",
    ),
    _around(m.GivesUpOn, "test_a_call_after_a_cancelled_one_works", m.is_cancelled),
    _around(m.EndsTwice, "test_cancelling_what_has_ended_does_nothing"),
    _around(m.CannotCancelWhatWaits, "test_a_call_that_waits_can_be_cancelled"),
    _around(
        m.IgnoresCancel,
        "test_a_future_that_is_cancelled_ends_its_call "
        "test_a_submitted_call_that_takes_too_long_is_ended "
        "test_cancelling_the_task_ends_the_call "
        "test_a_map_over_endless_items_can_be_left",
        m.is_submitted,
    ),
    _around(m.CancelsAtOnce, "test_an_async_function_is_cancelled_as_its_task"),
    _around(m.TakesCancelForResult, "test_a_cancelled_result_is_an_error"),
    _around(m.IgnoresCancel, "test_a_call_that_takes_too_long_is_ended", m.is_waited_for),
    # Crashes.
    _around(
        m.SwallowsCrashes,
        "test_a_worker_that_exits_is_lost test_a_worker_that_is_killed_is_lost "
        "test_a_crash_is_the_reason_of_the_end",
    ),
    _around(
        m.GivesUpOn,
        "test_a_call_after_a_crash_works test_a_lost_call_is_run_again_where_it_is_asked_for",
        m.is_crash,
    ),
    _around(m.RunsLostCallsAgain, "test_a_lost_call_is_not_run_again_unasked"),
    _around(m.ForgetsWhatWasStarted, "test_no_item_of_a_lost_batch_runs_twice"),
    # Warm workers.
    _around(
        m.StartsAnewEachTime,
        "test_a_warm_worker_is_used_again test_the_setup_runs_once_in_each_worker",
    ),
    _around(m.LeaksWorkers, "test_an_idle_worker_ends"),
    _mutant(
        m.SharesWorkers,
        "test_functions_of_other_options_do_not_share_a_worker",
        "SharesWorkers",
    ),
    _around(
        m.RunsOneAtATime,
        "test_calls_of_one_worker_run_at_once test_async_calls_of_one_worker_run_at_once",
    ),
    _around(m.MixesLines, "test_lines_of_calls_at_once_do_not_mix"),
    _around(m.CancelsNeighbours, "test_cancelling_one_leaves_its_neighbour_alone"),
    # Calls to home.
    _around(
        m.RefusesHome,
        "test_a_function_of_another_place_is_called_at_home test_a_generator_calls_home "
        "test_items_of_a_batch_call_home",
    ),
    _around(m.HidesErrorsAtHome, "test_an_error_at_home_arrives_as_itself"),
    _mutant(m.LeavesNoRoom, "test_a_call_to_home_leaves_room_for_others", "LeavesNoRoom"),
    # Options.
    _around(m.DropsOptions, "test_options_are_kept_on_the_way"),
    _around(m.RefusesOptions, "test_options_that_are_of_no_use_stop_nothing"),
    _around(
        m.BelievesOptions,
        "test_an_unknown_option_is_refused_where_it_is_written "
        "test_an_option_of_a_wrong_type_is_refused_where_it_is_written",
    ),
    _around(m.RunsItself, "test_the_documented_ways_of_a_host_run_functions"),
    # Environments.
    _around(
        m.IgnoresEnvironments,
        "test_a_function_has_its_requirements test_functions_do_not_share_their_requirements "
        "test_an_environment_that_cannot_be_built_is_an_error",
    ),
    # Secrets.
    _around(m.Wraps, "test_a_function_has_the_secrets_it_names", m.hides_secrets),
    _around(m.SharesSecrets, "test_a_function_has_no_secrets_that_it_does_not_name"),
    _around(m.TellsSecrets, "test_a_secret_is_not_seen_from_outside"),
    _around(m.ForgivesSecrets, "test_a_secret_that_is_not_set_is_an_error"),
    # Detached work.
    _around(m.ListsNothing, "test_detached_work_is_listed_until_it_ends"),
    _around(m.RepeatsTheJournal, "test_detached_work_is_attached_to_again"),
    _around(
        m.DetachesNothing,
        "test_detached_work_is_attached_to_from_another_process "
        "test_detached_work_is_cancelled_from_another_process",
    ),
    _around(m.AttachesToNothing, "test_attaching_to_no_work_is_an_error"),
)

#: Those of services are declared where they are written.
MUTANTS += tuple(
    Mutant(_name(cls, *args), around(cls, *args), tuple(breaks.split()), tuple(also.split()))
    for cls, args, breaks, also in SERVING
)
