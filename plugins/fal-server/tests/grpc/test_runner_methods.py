"""
Listed runners: those that live, those that have ended, and those of functions.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from isolate_proto import HostedRun, RunnerInfo
from isolate_proto import controller_pb2 as wire

LIVE = {RunnerInfo.RUNNING, RunnerInfo.IDLE}


def listed(stage, since: float | None = None) -> dict[str, RunnerInfo]:
    request = wire.ListRunnersRequest(list_pending=True)
    if since is not None:
        request.start_time.CopyFrom(Timestamp(seconds=int(since)))
    return {it.runner_id: it for it in stage.plane.call("ListRunners", request).runners}


def of_alias(stage, alias: str, since: float) -> list[RunnerInfo]:
    request = wire.ListAliasRunnersRequest(alias=alias, list_pending=True)
    request.start_time.CopyFrom(Timestamp(seconds=int(since)))
    return list(stage.plane.call("ListAliasRunners", request).runners)


def runner_of(stage, alias: str) -> str:
    (found,) = [it.runner_id for it in listed(stage).values() if it.alias == alias]
    return found


def test_runners_that_have_ended_are_listed_since_a_time(stage):
    """
    With a time those are listed too that have ended since, as terminated; those that live
    are in any case, whenever they were started.
    """
    began = time.time()
    for name in ("stays", "goes"):
        stage.deploy(name, min_concurrency=1)
        stage.settle(
            lambda name=name: [it for it in listed(stage).values() if it.alias == name]
        )
    stays, goes = runner_of(stage, "stays"), runner_of(stage, "goes")
    stage.settle(lambda: {listed(stage)[it].state for it in (stays, goes)} <= LIVE)
    stage.plane.call("DeleteAlias", wire.DeleteAliasRequest(alias="goes"))
    stage.settle(lambda: goes not in listed(stage))
    stage.settle(lambda: goes in listed(stage, began))
    ended = listed(stage, began)[goes]
    assert (ended.state, ended.alias) == (RunnerInfo.TERMINATED, "goes")
    assert 0 < ended.uptime <= time.time() - began
    later = listed(stage, time.time() + 60)
    assert goes not in later
    assert later[stays].state in LIVE
    assert [it.runner_id for it in of_alias(stage, "stays", began)] == [stays]


def test_runners_of_functions_are_listed_and_ended(stage):
    """
    The runner of a function is listed while it is kept for the next call, to its account
    alone, and is stopped and killed as any other.
    """
    other = stage.plane.add_user("other")

    def work() -> int:
        import os

        return os.getpid()

    for procedure, request in (
        ("StopRunner", wire.StopRunnerRequest),
        ("KillRunner", wire.KillRunnerRequest),
    ):
        pid = stage.run(work)
        kept = runner_of(stage, "work")
        assert listed(stage)[kept].state == RunnerInfo.IDLE
        asked = wire.ListRunnersRequest(list_pending=True)
        assert not stage.plane.call("ListRunners", asked, key=other).runners
        with pytest.raises(grpc.RpcError, match="not found"):
            stage.plane.call(procedure, request(runner_id=kept), key=other)
        stage.plane.call(procedure, request(runner_id=kept))
        stage.settle(lambda kept=kept: kept not in listed(stage))
        assert stage.run(work) != pid
        stage.plane.call(
            "KillRunner", wire.KillRunnerRequest(runner_id=runner_of(stage, "work"))
        )
        stage.settle(lambda: not [it for it in listed(stage).values() if it.alias == "work"])


def test_run_is_killed_by_its_id(stage, served):
    """
    The id of a run stands for its runner, which is ended with what it runs.
    """
    folder = str(stage.folder)

    def hang() -> None:
        import pathlib
        import time

        (pathlib.Path(folder) / "hangs").touch()
        # Ends with its runner, which is killed.
        time.sleep(600)

    request = HostedRun(application_name="hang")
    served.fill(request, hang)
    messages = stage.plane.stream("Run", request)
    run = next(messages).run_id
    ended = threading.Event()

    def follow() -> None:
        with suppress(grpc.RpcError):
            for _ in messages:
                pass
        ended.set()

    threading.Thread(target=follow).start()
    stage.settle((stage.folder / "hangs").exists)
    stage.plane.call("KillRunner", wire.KillRunnerRequest(runner_id=run))
    assert ended.wait(120)
    with pytest.raises(grpc.RpcError, match="not found"):
        stage.plane.call("KillRunner", wire.KillRunnerRequest(runner_id=run))
