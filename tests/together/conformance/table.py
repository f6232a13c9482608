"""Which broken host breaks which laws."""

from __future__ import annotations

from functools import partial

from declarations import Mutant, alone, around, in_process
from mutants import (
    builds,
    calls,
    cancels,
    claims,
    conditions,
    coroutines,
    crashes,
    detachment,
    environments,
    errors,
    events,
    exits,
    forks,
    futures,
    groups,
    home_calls,
    logs,
    observers,
    options,
    places,
    secret_values,
    serving,
    streams,
    values,
    workers,
)
from mutants.wrappers import Wraps
from process_groups import ProcessGroupHost

from fal_testing import InProcessHost, ProcessHost

# What many rows have in common.
around_in_process = partial(around, inner=InProcessHost)
changes_batches = partial(around, futures.ChangesBatches)
changes_logs = partial(around, logs.ChangesLogs)
gives_up_on = partial(around, workers.GivesUpOn)
ignores_cancel = partial(around, cancels.IgnoresCancel)
makes_read_only = partial(in_process, values.MakesReadOnly)

MUTANTS: tuple[Mutant, ...] = (
    # Calls.
    around(calls.TurnsBytesIntoText, "test_a_result_comes_back"),
    around(calls.DropsKeywords, "test_arguments_arrive_by_position_and_by_name", of="take"),
    around(calls.RefusesLargeArguments, "test_large_values_travel_both_ways", of="reverse"),
    around(calls.ReversesBuffers, "test_large_buffers_travel_both_ways"),
    around(calls.Memoizes, "test_every_call_gets_its_own_result", of="square"),
    around(calls.MixesCallsAtOnce, "test_calls_of_many_threads_do_not_mix", of="echo"),
    around(
        calls.KnowsFunctionsByName, "test_functions_of_one_name_are_told_apart", of="recall"
    ),
    around(calls.RunsTwice, "test_a_call_runs_once", of="run"),
    around(calls.CopiesClasses, "test_a_class_stays_the_same_class", of="mirror"),
    around(calls.CopiesClasses, "test_values_travel_between_environments", of="move"),
    around(calls.HidesWhatCannotTravel, "test_a_result_that_cannot_travel_is_an_error"),
    around(
        calls.IgnoresSetup, "test_the_result_of_the_setup_is_the_first_argument", of="predict"
    ),
    around(Wraps, "test_a_parameter_may_be_called_self", calls.takes_self, of="add_up"),
    # Values.
    makes_read_only("test_a_function_may_change_its_arguments", of="change"),
    makes_read_only("test_a_caller_may_change_results", of="keep_for_later"),
    makes_read_only("test_the_items_of_a_map_may_be_changed", of="change_each"),
    makes_read_only("test_the_items_of_a_stream_may_be_changed", of="yield_again"),
    makes_read_only("test_the_values_of_a_call_to_home_may_be_changed", of="ask_and_change"),
    in_process(values.OpensEqualsOnce, "test_the_items_of_a_map_share_nothing", of="append"),
    # Forks.
    around(
        forks.SharesMemoryOfResults,
        "test_a_process_forked_by_the_caller_keeps_results",
        of="make_filled",
    ),
    around(
        forks.SharesMemoryOfArguments,
        "test_a_process_forked_by_a_function_keeps_arguments",
        of="work_and_fork",
    ),
    # Errors.
    around(errors.JoinsErrorArguments, "test_an_error_arrives_as_itself"),
    around(errors.StripsTracebacks, "test_the_remote_traceback_is_the_cause"),
    around(errors.SwallowsTheClass, "test_an_error_of_the_callers_class_is_of_that_class"),
    around(
        errors.FlattensUnknownErrors,
        "test_an_error_of_an_unknown_class_keeps_its_name_and_bases",
    ),
    around(errors.ForgetsCauses, "test_what_caused_an_error_is_kept"),
    around(errors.TakesExitsForCrashes, "test_an_exit_of_the_function_is_an_error", of="leave"),
    around(
        errors.TakesExitsForCrashes,
        "test_an_exit_is_an_error_in_every_way_of_calling",
        of="give_up_later",
    ),
    around(
        errors.ComplainsOfExits,
        "test_an_exit_of_an_async_function_prints_nothing",
        of="leave_quietly",
    ),
    around(
        errors.TakesExitsForCrashes, "test_an_exit_of_the_setup_is_an_error", of="use_loaded"
    ),
    around(errors.TakesInterruptsForItsOwn, "test_an_interrupt_of_the_function_is_an_error"),
    gives_up_on("test_a_call_after_an_error_works", conditions.is_error, of="divide"),
    around(
        futures.BreaksOffBatches, "test_an_error_in_a_batch_is_of_its_item_alone", of="invert"
    ),
    # Logs.
    changes_logs("test_lines_arrive_before_the_result", logs.loses_some_lines, of="recite"),
    around(logs.LosesTheLastLine, "test_lines_arrive_before_the_result", of="recite"),
    around(logs.ReturnsBeforeTheLogs, "test_lines_arrive_before_the_result", of="recite"),
    alone(logs.NeedsLineEnds, "test_the_last_line_needs_no_end"),
    around_in_process(
        logs.ForgetsLogsOfErrors, "test_lines_before_an_error_arrive", of="complain"
    ),
    around(logs.ForgetsLogsOfErrors, "test_lines_before_a_crash_arrive", of="speak_and_leave"),
    changes_logs("test_errors_are_printed_as_such", logs.prints_all_alike, of="warn"),
    changes_logs("test_lines_arrive_as_they_were_printed", logs.drops_empty_lines),
    changes_logs("test_a_long_line_arrives_whole", logs.cuts_long_lines),
    changes_logs("test_many_lines_arrive", logs.stops_after_many),
    changes_logs("test_lines_name_their_call", logs.forgets_the_call, of="introduce"),
    changes_logs("test_lines_of_a_batch_name_their_item", logs.forgets_the_item),
    changes_logs("test_lines_name_their_time", logs.forgets_the_time),
    around(logs.HoldsLogsBack, "test_a_line_arrives_while_the_function_runs", of="announce"),
    around(
        Wraps,
        "test_lines_printed_below_python_arrive",
        logs.closes_descriptors,
        of="write_below",
    ),
    around(
        Wraps, "test_lines_of_child_processes_arrive", logs.closes_descriptors, of="run_child"
    ),
    around(logs.SplitsRecords, "test_a_record_is_one_event", of="log_something"),
    around(
        logs.KeepsLinesForTheNextCall,
        "test_a_thread_left_behind_prints_for_no_other_call",
        of="leave_a_thread wait_for_the_thread",
    ),
    changes_logs("test_bytes_that_are_no_text_arrive_readable", logs.drops_what_is_no_text),
    # Events.
    around(events.ReportsAfterTheEnd, "test_nothing_follows_the_end"),
    around(events.ReportsOutcomesTwice, "test_there_is_one_outcome"),
    around(events.TakesErrorsForItsOwn, "test_an_error_is_an_outcome"),
    around(events.DeliversAtOnce, "test_events_come_one_at_a_time"),
    around(events.SaysNoPhases, "test_a_call_says_when_it_runs", of="step"),
    around(events.LaunchWaits, "test_launching_does_not_wait", of="wait"),
    around(events.NamesAllAlike, "test_executions_have_names_of_their_own"),
    # Futures and maps.
    changes_batches("test_every_future_has_its_own_result", futures.reverses, of="twice"),
    changes_batches(
        "test_results_come_in_the_order_of_the_items", futures.reverses, of="dawdle"
    ),
    around(futures.HidesErrorsOfItems, "test_a_future_raises_what_its_call_raised", of="pick"),
    around(
        futures.HidesErrorsOfItems, "test_a_map_gives_errors_where_they_are_wanted", of="sift"
    ),
    around(futures.HidesErrorsOfItems, "test_a_map_raises_the_error_of_an_item", of="stumble"),
    around(cancels.CancelsOneMore, "test_a_future_that_is_cancelled_is_settled", of="ponder"),
    around(futures.HidesErrorsOfItems, "test_a_call_that_raises_cancels_no_task", of="forsake"),
    changes_batches(
        "test_an_unordered_map_gives_every_result_once", futures.loses_the_last, of="pass_on"
    ),
    changes_batches(
        "test_results_before_an_input_that_raises_are_given", futures.loses_the_last, of="keep"
    ),
    changes_logs(
        "test_a_spawned_call_can_be_followed", logs.drops_where_nobody_waits, of="converse"
    ),
    changes_logs(
        "test_detached_work_gives_its_result", logs.drops_where_nobody_waits, of="work_apart"
    ),
    around(
        futures.HidesErrorsOfSpawns, "test_a_spawned_call_raises_what_it_raised", of="collapse"
    ),
    around(
        futures.SaysAllAreReady, "test_a_spawned_call_that_serves_nothing_has_no_url", of="rest"
    ),
    around(futures.LaunchesFromOneThread, "test_a_callback_may_make_calls", of="ask_next"),
    around(exits.EndsWithItsProgram, "test_submitted_calls_end_before_their_program"),
    # Places.
    around(
        places.RefusesWhatFindsNoPlace, "test_more_calls_than_places_all_end", of="take_a_place"
    ),
    around(places.LosesWhatWaits, "test_more_calls_than_places_all_end", of="take_a_place"),
    around(
        places.ClosesAllOfItsClass,
        "test_two_hosts_of_one_name_have_calls_of_their_own",
        of="introduce_each",
    ),
    around(
        places.MixesHosts,
        "test_two_hosts_of_one_name_have_calls_of_their_own",
        of="introduce_each",
    ),
    # Streams.
    around(streams.LosesAnItem, "test_every_item_of_a_stream_arrives_in_order", 30, of="tick"),
    around(streams.LosesAnItem, "test_an_async_generator_is_a_stream", 30, of="drip"),
    around(streams.LosesAnItem, "test_a_spawned_generator_gives_a_list", 30, of="gather"),
    in_process(
        coroutines.AsyncGeneratorsAsLists, "test_an_async_generator_is_a_stream", of="drip"
    ),
    in_process(
        coroutines.AsyncGeneratorsAsLists,
        "test_streams_can_be_iterated_over_asynchronously",
        of="pace",
    ),
    around(
        streams.ForgetsWhatIsReturned,
        "test_a_stream_ends_with_what_the_generator_returns",
        of="fill_and_sum",
    ),
    around(streams.HoldsItemsBack, "test_an_item_arrives_while_the_generator_runs"),
    around(streams.ForgetsItemsOfErrors, "test_items_before_an_error_arrive", of="break_off"),
    around(streams.NeverHoldsBack, "test_a_generator_is_held_back"),
    around(streams.LogsAfterItems, "test_lines_and_items_arrive_in_order"),
    ignores_cancel("test_a_closed_stream_ends", conditions.is_iterated, of="count_up"),
    # Async functions.
    around(coroutines.RefusesEventLoops, "test_calls_can_be_awaited", of="double"),
    in_process(coroutines.NeverAwaits, "test_an_async_function_is_awaited", of="total"),
    in_process(
        coroutines.NeverAwaits, "test_an_async_function_raises_what_it_raised", of="reject"
    ),
    # Cancelling.
    around(cancels.TakesCancelForCrash, "test_a_cancelled_call_ends", of="linger"),
    around(cancels.ForgesCancel, "test_a_cancelled_function_runs_no_more", of="pulse"),
    around(cancels.NeverKills, "test_a_function_that_will_not_end_is_ended", of="resist"),
    alone(crashes.LeavesChildren, "test_children_of_a_cancelled_call_end", of="start_children"),
    alone(crashes.LeavesChildren, "test_children_of_a_lost_worker_end", of="leave_children"),
    gives_up_on("test_a_call_after_a_cancelled_one_works", conditions.is_cancelled, of="nap"),
    around(cancels.EndsTwice, "test_cancelling_what_has_ended_does_nothing"),
    around(cancels.CannotCancelWhatWaits, "test_a_call_that_waits_can_be_cancelled"),
    ignores_cancel(
        "test_a_future_that_is_cancelled_ends_its_call", conditions.is_submitted, of="throb"
    ),
    ignores_cancel(
        "test_a_submitted_call_that_takes_too_long_is_ended",
        conditions.is_submitted,
        of="overrun",
    ),
    around(
        events.SaysTooEarlyThatItRuns, "test_the_setup_is_no_part_of_a_request", of="use_later"
    ),
    ignores_cancel(
        "test_cancelling_the_task_ends_the_call", conditions.is_submitted, of="doze"
    ),
    ignores_cancel(
        "test_a_map_over_endless_items_can_be_left", conditions.is_submitted, of="crawl"
    ),
    around(
        cancels.CancelsAtOnce,
        "test_an_async_function_is_cancelled_as_its_task",
        of="wait_and_clean_up",
    ),
    around(cancels.TakesCancelForResult, "test_a_cancelled_result_is_an_error", of="idle"),
    ignores_cancel(
        "test_a_call_that_takes_too_long_is_ended", conditions.is_waited_for, of="beat"
    ),
    # Crashes.
    around(crashes.SwallowsCrashes, "test_a_worker_that_exits_is_lost", of="leave_by_itself"),
    around(crashes.SwallowsCrashes, "test_a_worker_that_is_killed_is_lost", of="die"),
    around(crashes.SwallowsCrashes, "test_a_crash_is_the_reason_of_the_end", of="vanish"),
    gives_up_on("test_a_call_after_a_crash_works", conditions.is_crash, of="leave_or_stay"),
    around(crashes.NoticesNoLoss, "test_a_call_whose_place_is_lost_ends", of="stay_there"),
    gives_up_on(
        "test_a_call_after_a_lost_place_works", conditions.is_crash, of="stay_or_leave"
    ),
    gives_up_on(
        "test_a_lost_call_is_run_again_where_it_is_asked_for",
        conditions.is_crash,
        of="leave_always",
    ),
    around(
        crashes.RunsLostCallsAgain, "test_a_lost_call_is_not_run_again_unasked", of="leave_once"
    ),
    around(
        crashes.ForgetsWhatWasStarted, "test_no_item_of_a_lost_batch_runs_twice", of="leave_at"
    ),
    # Warm workers.
    around(workers.StartsAnewEachTime, "test_a_warm_worker_is_used_again", of="count_on"),
    around(
        workers.StartsAnewEachTime, "test_the_setup_runs_once_in_each_worker", of="tell_loaded"
    ),
    around(
        workers.StartsAnewEachTime, "test_a_worker_takes_more_than_one_call", of="load_once"
    ),
    around(
        workers.ClaimsToKeepWorkers, "test_a_worker_takes_more_than_one_call", inner=ProcessHost
    ),
    around(workers.KeepsNoSpareWorkers, "test_as_many_workers_stay_as_are_asked_for"),
    around(workers.LeaksWorkers, "test_an_idle_worker_ends"),
    around(
        workers.KeepsFirstSources,
        "test_an_edited_module_is_imported_anew",
        of="read_the_module",
    ),
    alone(
        workers.SharesWorkers,
        "test_functions_of_other_options_do_not_share_a_worker",
        of="use peek",
    ),
    around(
        workers.RunsOneAtATime, "test_calls_of_one_worker_run_at_once", of="meet_in_threads"
    ),
    around(
        workers.RunsOneAtATime, "test_async_calls_of_one_worker_run_at_once", of="meet_in_tasks"
    ),
    around(workers.MixesLines, "test_lines_of_calls_at_once_do_not_mix", of="chant"),
    around(workers.CancelsNeighbours, "test_cancelling_one_leaves_its_neighbour_alone"),
    # Calls to home.
    around(
        home_calls.RefusesHome,
        "test_a_function_of_another_place_is_called_at_home",
        of="ask_home",
    ),
    around(home_calls.RefusesHome, "test_a_generator_calls_home", of="yield_from_home"),
    around(home_calls.RefusesHome, "test_items_of_a_batch_call_home", of="ask_home_each"),
    around(home_calls.HidesErrorsAtHome, "test_an_error_at_home_arrives_as_itself"),
    alone(home_calls.LeavesNoRoom, "test_a_call_to_home_leaves_room_for_others"),
    # Groups.
    around(
        groups.AlwaysOnTheSecond,
        "test_a_call_is_on_one_node_where_nothing_else_is_said",
        of="locate_alone",
    ),
    around_in_process(
        groups.CountsBackwards,
        "test_the_result_of_a_group_is_that_of_its_first_node",
        of="give_rank",
    ),
    around_in_process(
        groups.TellsWhoIsThere,
        "test_each_node_knows_itself_and_where_all_are",
        of="introduce_node",
    ),
    around_in_process(
        groups.RunsOnFewer,
        "test_a_group_may_have_as_many_nodes_as_are_claimed",
        2,
        of="count_nodes",
    ),
    around(
        groups.StartsWhoIsThere,
        "test_a_group_runs_on_all_nodes_or_on_none",
        of="run_on_all_or_none",
        inner=ProcessGroupHost,
    ),
    around_in_process(
        groups.RunsOneAfterAnother, "test_the_nodes_of_a_group_run_at_once", of="meet_at_home"
    ),
    around_in_process(
        groups.ForgetsTheRank,
        "test_lines_of_all_nodes_arrive_and_say_from_which",
        of="speak_on_all",
    ),
    around_in_process(
        groups.RunsOnFewer, "test_an_async_function_runs_on_all_nodes", 1, of="locate_later"
    ),
    around_in_process(
        groups.YieldsForAll,
        "test_the_items_of_a_group_are_those_of_its_first_node",
        of="yield_rank",
    ),
    around_in_process(
        groups.RunsOnFewer, "test_a_map_runs_each_item_on_all_nodes", 1, of="measure_item"
    ),
    around_in_process(groups.ConfusesAnswers, "test_every_node_calls_home", of="ask_on_all"),
    around_in_process(
        groups.FollowsTheFirstAlone,
        "test_an_error_on_any_node_is_that_of_the_call",
        of="fail_on_the_second",
    ),
    around(
        groups.HidesWhichNode,
        "test_a_node_that_is_lost_is_named",
        of="leave_on_the_second",
        inner=ProcessGroupHost,
    ),
    around_in_process(
        groups.FollowsTheFirstAlone, "test_one_cancel_ends_all_nodes", of="tick_on_all"
    ),
    # Observers.
    around(
        observers.TellsObserversItself,
        "test_an_observer_that_raises_changes_nothing",
        of="be_observed",
    ),
    # Options.
    around(options.DropsOptions, "test_options_are_kept_on_the_way"),
    around(options.RefusesOptions, "test_options_that_are_of_no_use_stop_nothing"),
    around(options.BelievesNames, "test_an_unknown_option_is_refused_where_it_is_written"),
    around(
        options.BelievesTypes, "test_an_option_of_a_wrong_type_is_refused_where_it_is_written"
    ),
    around(
        options.LeavesMachinesOut,
        "test_an_unknown_machine_type_is_refused_where_it_is_written",
    ),
    around(options.RunsItself, "test_the_documented_ways_of_a_host_run_functions"),
    # Claims.
    around(claims.ClaimsUnknownOptions, "test_the_options_it_acts_on_are_documented"),
    around(claims.ClaimsSecretsByName, "test_options_and_capabilities_agree"),
    around(claims.SharesNoOption, "test_options_and_capabilities_agree"),
    around(claims.DetachesUnsaid, "test_it_detaches_work_if_it_says_so"),
    around(claims.AnswersWithItself, "test_a_host_around_it_has_its_abilities"),
    around(claims.ForgetsAbilities, "test_a_host_around_it_has_its_abilities"),
    around(
        claims.IgnoresStartupTimeout, "test_a_worker_that_is_not_ready_in_time_ends_its_call"
    ),
    around(claims.RunsMoreThanItMay, "test_no_more_calls_run_at_once_than_may", of="span"),
    # Environments.
    around(options.IgnoresEnvironments, "test_a_function_has_its_requirements", of="find"),
    around(
        options.IgnoresEnvironments,
        "test_functions_do_not_share_their_requirements",
        of="is_there",
    ),
    around(
        options.IgnoresEnvironments,
        "test_an_environment_that_cannot_be_built_is_an_error",
        of="never_run",
    ),
    alone(
        environments.DropsVariables,
        "test_a_worker_has_the_variables_of_its_environment",
        of="read_variable",
    ),
    # Interpreters.
    alone(
        environments.MergesOutputs,
        "test_what_a_launcher_prints_is_no_part_of_the_stream",
        of="sum_through",
    ),
    alone(
        environments.DropsStopCommand, "test_a_command_ends_what_no_signal_does", of="hold_out"
    ),
    alone(
        environments.KeepsLeftovers,
        "test_a_command_ends_what_a_failed_program_has_left",
        of="fail_through",
    ),
    alone(
        environments.DropsExplanation,
        "test_an_interpreter_explains_the_end_of_its_process",
        of="leave_through",
    ),
    alone(
        environments.GivesOneName,
        "test_each_process_has_a_name_of_its_own",
        of="name_through",
    ),
    alone(
        environments.TellsNoPorts,
        "test_a_service_in_a_network_of_its_own_is_told_its_ports",
        of="serve_through",
    ),
    # Builds.
    around(
        builds.BuildsInLaunch, "test_launching_does_not_wait_for_a_build", of="run_when_built"
    ),
    around(
        builds.WaitsForTheBuild, "test_launching_does_not_wait_for_a_build", of="run_when_built"
    ),
    around(
        builds.BuildsOn, "test_a_call_that_waits_for_a_build_can_be_cancelled", of="never_built"
    ),
    alone(
        builds.BuildsForEachWorker,
        "test_many_calls_cause_one_build",
        of="run_in_counted",
        whole=ProcessHost,
    ),
    around(
        builds.TellsOneOfThem,
        "test_calls_whose_environment_cannot_be_built_all_end",
        of="never_run_in_counted",
    ),
    # Secrets.
    around(
        Wraps,
        "test_a_function_has_the_secrets_it_names",
        secret_values.hides_secrets,
        of="reveal",
    ),
    around(secret_values.SharesSecrets, "test_a_function_has_no_secrets_that_it_does_not_name"),
    around(secret_values.TellsSecrets, "test_a_secret_is_not_seen_from_outside"),
    around(secret_values.ForgivesSecrets, "test_a_secret_that_is_not_set_is_an_error"),
    # Detached work.
    around(detachment.ListsNothing, "test_detached_work_is_listed_until_it_ends"),
    around(detachment.RepeatsTheJournal, "test_detached_work_is_attached_to_again"),
    around(
        detachment.DetachesNothing,
        "test_detached_work_is_attached_to_from_another_process",
        of="speak_apart",
    ),
    around(
        detachment.DetachesNothing,
        "test_detached_work_is_cancelled_from_another_process",
        of="wait_apart",
    ),
    around(detachment.AttachesToNothing, "test_attaching_to_no_work_is_an_error"),
    # Services.
    around(serving.TellsAnotherUrl, "test_a_served_function_answers_at_its_url", of="welcome"),
    around(serving.NeverSaysReady, "test_a_service_says_when_it_is_ready"),
    around(
        serving.TellsNoCaller,
        "test_a_service_that_is_called_says_where_it_serves",
        of="greet_caller",
    ),
    around(serving.TellsOneUrl, "test_services_at_once_have_urls_of_their_own"),
    around(serving.ForgetsRequests, "test_lines_of_a_request_name_it"),
    around(
        serving.LeavesThePort,
        "test_a_cancelled_service_ends_and_is_reached_no_more",
        of="greet_no_more",
    ),
    around(serving.DrainsByForce, "test_a_drained_service_finishes_what_it_does"),
    around(
        serving.ForgetsSettings,
        "test_requests_run_at_once_as_far_as_they_may",
        "max_multiplexing",
    ),
    around(
        serving.ForgetsSettings,
        "test_a_request_that_takes_too_long_is_answered",
        "request_timeout",
    ),
    around(
        serving.TellsUrlsEarly, "test_a_function_may_bring_its_own_server", of="serve_itself"
    ),
    around(
        serving.NeverAsksForHealth,
        "test_a_server_may_say_itself_when_it_is_ready",
        serving.brings_a_server,
    ),
    around(
        serving.NeverAsksForHealth,
        "test_a_service_is_ready_once_it_says_that_it_is_well",
        serving.is_served,
        of="get_well",
    ),
    around(serving.AsksForHealthOnce, "test_a_service_that_is_no_longer_well_is_ended"),
    around(
        serving.HidesWhyItNeverServed,
        "test_a_service_that_fails_to_start_raises_what_it_raised",
    ),
    around(serving.WaitsForEver, "test_a_service_that_never_starts_is_ended"),
)
