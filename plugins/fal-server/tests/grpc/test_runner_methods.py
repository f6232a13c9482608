"""Listed runners: those that live, those that have ended, and those of functions."""

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


def listed(served_plane, since: float | None = None) -> dict[str, RunnerInfo]:
    request = wire.ListRunnersRequest(list_pending=True)
    if since is not None:
        request.start_time.CopyFrom(Timestamp(seconds=int(since)))
    return {it.runner_id: it for it in served_plane.plane.call("ListRunners", request).runners}


def of_alias(served_plane, alias: str, since: float) -> list[RunnerInfo]:
    request = wire.ListAliasRunnersRequest(alias=alias, list_pending=True)
    request.start_time.CopyFrom(Timestamp(seconds=int(since)))
    return list(served_plane.plane.call("ListAliasRunners", request).runners)


def runner_of(served_plane, alias: str) -> str:
    (found,) = [it.runner_id for it in listed(served_plane).values() if it.alias == alias]
    return found


def test_runners_that_have_ended_are_listed_since_a_time(served_plane):
    """
    With a time those are listed too that have ended since, as terminated; those that live
    are in any case, whenever they were started.
    """
    began = time.time()
    for name in ("stays", "goes"):
        served_plane.deploy(name, min_concurrency=1)
        served_plane.settle(
            lambda name=name: [it for it in listed(served_plane).values() if it.alias == name]
        )
    stays, goes = runner_of(served_plane, "stays"), runner_of(served_plane, "goes")
    served_plane.settle(
        lambda: {listed(served_plane)[it].state for it in (stays, goes)} <= LIVE
    )
    served_plane.plane.call("DeleteAlias", wire.DeleteAliasRequest(alias="goes"))
    served_plane.settle(lambda: goes not in listed(served_plane))
    served_plane.settle(lambda: goes in listed(served_plane, began))
    ended = listed(served_plane, began)[goes]
    assert (ended.state, ended.alias) == (RunnerInfo.TERMINATED, "goes")
    assert 0 < ended.uptime <= time.time() - began
    later = listed(served_plane, time.time() + 60)
    assert goes not in later
    assert later[stays].state in LIVE
    assert [it.runner_id for it in of_alias(served_plane, "stays", began)] == [stays]


def test_runners_of_functions_are_listed_and_ended(served_plane):
    """
    The runner of a function is listed while it is kept for the next call, to its account
    alone, and is stopped and killed as any other.
    """
    other = served_plane.plane.add_user("other")

    def work() -> int:
        import os

        return os.getpid()

    for procedure, request in (
        ("StopRunner", wire.StopRunnerRequest),
        ("KillRunner", wire.KillRunnerRequest),
    ):
        pid = served_plane.run(work)
        kept = runner_of(served_plane, "work")
        assert listed(served_plane)[kept].state == RunnerInfo.IDLE
        asked = wire.ListRunnersRequest(list_pending=True)
        assert not served_plane.plane.call("ListRunners", asked, key=other).runners
        with pytest.raises(grpc.RpcError, match="not found"):
            served_plane.plane.call(procedure, request(runner_id=kept), key=other)
        served_plane.plane.call(procedure, request(runner_id=kept))
        served_plane.settle(lambda kept=kept: kept not in listed(served_plane))
        assert served_plane.run(work) != pid
        served_plane.plane.call(
            "KillRunner", wire.KillRunnerRequest(runner_id=runner_of(served_plane, "work"))
        )
        served_plane.settle(
            lambda: not [it for it in listed(served_plane).values() if it.alias == "work"]
        )


def test_run_is_killed_by_its_id(served_plane, served):
    """The id of a run names its runner: killing it ends the run too."""
    folder = str(served_plane.folder)

    def hang() -> None:
        import pathlib
        import time

        (pathlib.Path(folder) / "hangs").touch()
        # Ends with its runner, which is killed.
        time.sleep(600)

    request = HostedRun(application_name="hang")
    served.fill(request, hang)
    messages = served_plane.plane.stream("Run", request)
    run = next(messages).run_id
    ended = threading.Event()

    def follow() -> None:
        with suppress(grpc.RpcError):
            for _ in messages:
                pass
        ended.set()

    threading.Thread(target=follow).start()
    served_plane.settle((served_plane.folder / "hangs").exists)
    served_plane.plane.call("KillRunner", wire.KillRunnerRequest(runner_id=run))
    assert ended.wait(120)
    with pytest.raises(grpc.RpcError, match="not found"):
        served_plane.plane.call("KillRunner", wire.KillRunnerRequest(runner_id=run))
