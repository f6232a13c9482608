"""Scaling: how many runners an application has, and how long anything may take."""

from __future__ import annotations

import time

from isolate_proto import MachineRequirements, UpdateApplicationRequest

from fal_server.specs.scaling import Scaling, read_deployed


def test_least_runners(holder, settle):
    """
    There are as many runners as there are to be at least, without a request; one that
    ends is replaced.
    """
    holder.deploy("least", min_concurrency=2, max_concurrency=3)
    settle(lambda: len(holder.ready("least")) == 2)
    before = {each.runner_id for each in holder.runners("least")}
    holder.kill(before.pop())
    settle(lambda: {each.runner_id for each in holder.ready("least")} > before)
    holder.set("least", min_concurrency=0, keep_alive=0)
    settle(lambda: not holder.runners("least"))
    # Nothing is left, and a request brings a runner all the same.
    assert holder.ask("least").status_code == 200


def test_most_runners(holder, settle):
    """Requests per runner and runners per application are limited; further requests wait."""
    holder.deploy("most", max_concurrency=2, max_multiplexing=2)
    held = [holder.hold("most", f"most-{number}") for number in range(6)]
    settle(lambda: holder.in_flight("most") == [2, 2] and holder.waiting("most") == 2)
    assert not any(each.done() for each in held)
    for number in range(6):
        holder.write(f"most-{number}")
    answers = [each.result() for each in held]
    assert [each.status_code for each in answers] == [200] * 6
    assert len({each.json()["pid"] for each in answers}) == 2
    assert len(holder.runners("most")) == 2


def test_requests_that_share_a_runner(holder, settle):
    """
    A runner has as many requests at once as *max_multiplexing* says, before another is
    started; with a larger one those that wait go to the runners that are there.
    """
    holder.deploy("share", max_concurrency=4, max_multiplexing=3)
    held = [holder.hold("share", "share-1") for _ in range(3)]
    settle(lambda: holder.in_flight("share") == [3])
    held.append(holder.hold("share", "share-1"))
    settle(lambda: holder.in_flight("share") == [1, 3])
    held += [holder.hold("share", "share-1") for _ in range(2)]
    settle(lambda: holder.in_flight("share") == [3, 3])
    holder.set("share", max_concurrency=2)
    held += [holder.hold("share", "share-2") for _ in range(2)]
    settle(lambda: holder.waiting("share") == 2)
    holder.set("share", max_multiplexing=4)
    settle(lambda: holder.in_flight("share") == [4, 4])
    assert holder.waiting("share") == 0
    holder.write("share-1")
    settle(lambda: sum(holder.in_flight("share")) == 2)
    holder.write("share-2")
    assert [each.result().status_code for each in held] == [200] * 8
    assert len({each.result().json()["pid"] for each in held}) == 2


def test_buffer(holder, settle):
    """
    Beside those that are busy there are as many runners as the buffer says, in numbers
    or in percent of the busy ones: the larger counts.
    """
    holder.deploy("buffer", max_concurrency=6, concurrency_buffer=1)
    settle(lambda: holder.in_flight("buffer") == [0])
    held = [holder.hold("buffer", "buffer-word")]
    settle(lambda: holder.in_flight("buffer") == [0, 1])
    held.append(holder.hold("buffer", "buffer-word"))
    settle(lambda: holder.in_flight("buffer") == [0, 1, 1])
    holder.set("buffer", concurrency_buffer_perc=100)
    settle(lambda: holder.in_flight("buffer") == [0, 0, 1, 1])
    holder.set("buffer", concurrency_buffer=3)
    settle(lambda: holder.in_flight("buffer") == [0, 0, 0, 1, 1])
    # More than there may be is no buffer.
    holder.set("buffer", concurrency_buffer=30)
    settle(lambda: holder.in_flight("buffer") == [0, 0, 0, 0, 1, 1])
    holder.write("buffer-word")
    assert [each.result().status_code for each in held] == [200, 200]


def test_idle_runner(holder, settle):
    """A runner ends once it has been without a request for its time, and not before."""
    holder.deploy("idle", keep_alive=1)
    held = holder.hold("idle", "idle-word")
    settle(lambda: holder.in_flight("idle") == [1])
    (runner,) = holder.runners("idle")
    answered = time.time()
    holder.write("idle-word")
    assert held.result().status_code == 200
    settle(lambda: not holder.runners("idle"))
    settle(lambda: holder.times(runner.runner_id)[1])
    assert holder.times(runner.runner_id)[1] >= answered + 1


def test_scaling_delay(holder, settle):
    """A request waits for the runners there are before another is started for it."""
    holder.deploy("delay", scaling_delay_seconds=1)
    held = [holder.hold("delay", "delay-word")]
    settle(lambda: holder.in_flight("delay") == [1])
    (first,) = holder.runners("delay")
    asked = time.time()
    held.append(holder.hold("delay", "delay-word"))
    settle(lambda: holder.in_flight("delay") == [1, 1])
    (second,) = [each for each in holder.runners("delay") if each.runner_id != first.runner_id]
    assert holder.times(second.runner_id)[0] >= asked + 1
    holder.write("delay-word")
    assert [each.result().status_code for each in held] == [200, 200]


def test_request_that_takes_too_long(holder, settle):
    """
    A request over its timeout gets a 504 that says whose limit it was; the runner sees a
    disconnect, and its slot is free again.
    """
    holder.deploy("slow", max_concurrency=1, request_timeout=5)
    answer = holder.hold("slow", "slow-word").result()
    assert answer.status_code == 504
    assert answer.headers["x-fal-request-timeout-type"] == "infrastructure"
    assert "5 seconds" in answer.json()["detail"]
    settle(lambda: holder.has("left-slow-word"))
    assert holder.ask("slow").status_code == 200
    settle(lambda: holder.in_flight("slow") == [0])


def test_request_that_waits_too_long(holder, settle):
    """
    A request that waits for a runner longer than the limit of the application or of its
    sender gets a 504 that says whose limit it was, and takes no slot afterwards.
    """
    holder.deploy("wait", max_concurrency=1)
    held = holder.hold("wait", "wait-word")
    settle(lambda: holder.in_flight("wait") == [1])
    # What the application says is for requests of its owner.
    holder.set("wait", request_start_timeout=1)
    for headers in ({}, {"x_fal_request_timeout": "0.2"}):
        answer = holder.ask("wait", **headers)
        assert answer.status_code == 504
        assert answer.headers["x-fal-request-timeout-type"] == "user"
    holder.set("wait", request_start_timeout=0)
    patient = holder.hold("wait", "wait-word")
    holder.write("wait-word")
    assert [each.result().status_code for each in (held, patient)] == [200, 200]
    settle(lambda: holder.in_flight("wait") == [0])


def test_runner_that_does_not_start(holder, settle):
    """
    A runner that does not answer in time is ended; after some attempts the waiting clients
    get the reason, and later requests are tried again.
    """
    holder.write("starting-1")
    try:
        holder.deploy("start", startup_timeout=1)
        answer = holder.ask("start")
        assert answer.status_code == 503
        assert "startup_timeout of 1 s" in answer.json()["detail"]
    finally:
        holder.lift("starting-1")
    holder.set("start", startup_timeout=600)
    assert holder.ask("start").status_code == 200


def test_time_to_end(holder, settle):
    """
    A runner that is asked to end has its grace period: it is not cut short, and is killed
    afterwards.
    """
    holder.deploy("patient", grace=300)
    pid = holder.ask("patient").json()["pid"]
    holder.write("stays")
    (runner,) = holder.runners("patient")
    holder.stop(runner.runner_id)
    settle(lambda: holder.has(f"told-{pid}"))
    assert [each.state for each in holder.runners("patient")] == [holder.states.DRAINING]
    # Others take its requests meanwhile.
    assert holder.ask("patient").json()["pid"] != pid
    assert not holder.has(f"ended-{pid}")
    holder.lift("stays")
    settle(lambda: holder.has(f"ended-{pid}"))

    holder.deploy("hasty", grace=5)
    pid = holder.ask("hasty").json()["pid"]
    holder.write("stays")
    (runner,) = holder.runners("hasty")
    holder.stop(runner.runner_id)
    settle(lambda: not holder.runners("hasty"))
    assert holder.has(f"told-{pid}")
    holder.lift("stays")
    assert not holder.has(f"ended-{pid}")


def test_stopped_runner_finishes_what_it_has(holder, settle):
    """
    A stopped runner takes no more requests and finishes those that it has; if it is to be
    replaced, its successor is up before it is asked to end.
    """
    holder.deploy("finish", grace=300)
    held = holder.hold("finish", "finish-word")
    settle(lambda: holder.in_flight("finish") == [1])
    (first,) = holder.runners("finish")
    holder.write("starting-1")
    stopping = holder.later(holder.stop, first.runner_id, replace_first=True)
    settle(lambda: holder.in_flight("finish") == [0, 1])
    assert holder.states.DRAINING not in {each.state for each in holder.runners("finish")}
    assert not stopping.done()
    holder.lift("starting-1")
    stopping.result()
    pid = holder.ask("finish").json()["pid"]
    assert not held.done()
    holder.write("finish-word")
    assert held.result().status_code == 200
    assert held.result().json()["pid"] != pid
    settle(lambda: len(holder.runners("finish")) == 1)
    assert holder.has(f"ended-{held.result().json()['pid']}")


def test_settings_of_runners(holder, settle):
    """Settings of runners apply to runners that start after the change."""
    holder.deploy("set", machine_type="XS")
    holder.ask("set")
    (first,) = holder.runners("set")
    info = holder.set("set", machine_types=["S", "M"], startup_timeout=77)
    assert (list(info.machine_types), info.startup_timeout) == (["S", "M"], 77)
    holder.stop(first.runner_id, replace_first=True)
    settle(lambda: len(holder.runners("set")) == 1)
    (second,) = holder.runners("set")
    assert (first.machine_type, second.machine_type) == ("XS", "S")
    (runner,) = holder.plane.plane.catalog.find("owner", "set").runners
    assert runner.spec.startup_timeout == 77


def test_deployed_application_that_declares_nothing(holder):
    """The server fills in what a deployed application leaves out, as fal's does."""
    holder.deploy("bare")
    info = holder.alias("bare")
    assert (info.max_concurrency, info.request_timeout, info.startup_timeout) == (2, 3600, 600)
    assert not info.HasField("request_start_timeout")


def test_limits_that_are_cleared(holder):
    """A limit of 0 is none, in a registration and in a change."""
    none = {"max_concurrency": 0, "request_timeout": 0, "startup_timeout": 0}
    holder.deploy("cleared", **none)
    assert holder.ask("cleared").status_code == 200
    limits = ("max_concurrency", "request_timeout", "startup_timeout")
    for name in ("cleared", "limited"):
        if name == "limited":
            holder.deploy("limited")
            holder.set("limited", **none)
        found = holder.plane.plane.catalog.find("owner", name).scaling
        assert [getattr(found, limit) for limit in limits] == [None] * 3
        info = holder.alias(name)
        assert [getattr(info, limit) for limit in limits] == [0] * 3


def test_number_of_runners_without_a_limit():
    """Where the most runners are not limited, demand alone decides."""
    assert Scaling().target(1000) == 1000
    assert Scaling(max_concurrency=3).target(1000) == 3
    assert Scaling(max_concurrency=3).surplus(5) == 2


def test_fewest_runners_that_are_more_than_the_default():
    """An application that declares many runners and no limit gets that many."""
    scaling = read_deployed(MachineRequirements(min_concurrency=5))
    assert (scaling.min_concurrency, scaling.max_concurrency) == (5, 5)


def test_machine_type_of_old_clients():
    """A machine type in the field that old clients fill counts, unless there is a list."""
    assert read_deployed(MachineRequirements(machine_type="M")).machine_types == ("M",)
    both = MachineRequirements(machine_type="M", machine_types=["S", "L"])
    assert read_deployed(both).machine_types == ("S", "L")


def test_empty_machine_types():
    """A machine type without a name is none, so that no change clears those that there are."""
    named = MachineRequirements(machine_type="M", machine_types=["", "S", "S"])
    assert read_deployed(named).machine_types == ("S",)
    empty = UpdateApplicationRequest(machine_types=[""])
    assert Scaling(machine_types=("S",)).changed(empty).machine_types == ("S",)
