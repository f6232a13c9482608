"""Runs: functions that come with the call, and how they are stopped."""

from __future__ import annotations

import cloudpickle
import grpc
import pytest
from isolate_proto import HostedRun, StopRunnerRequest


def test_run_is_stopped_by_its_id(served_plane, served):
    """
    The caller of a function can stop its run by its id, like a runner, and gets what the
    function still returns; no other account can.
    """
    folder = str(served_plane.folder)

    async def wait() -> str:
        import asyncio
        import pathlib
        import signal

        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        (pathlib.Path(folder) / "waits").touch()
        await told.wait()
        return "cleaned up"

    wait._run_on_main_thread = True  # type: ignore[attr-defined]  # as isolate's clients set it
    request = HostedRun(application_name="wait")
    served.fill(request, wait)
    messages = served_plane.plane.stream("Run", request)
    stop = StopRunnerRequest(runner_id=next(messages).run_id)
    served_plane.settle((served_plane.folder / "waits").exists)
    with pytest.raises(grpc.RpcError, match="not found"):
        served_plane.plane.call("StopRunner", stop, key=served_plane.plane.add_user("eve"))
    served_plane.plane.call("StopRunner", stop)
    last = [*messages][-1]
    assert cloudpickle.loads(last.return_value.definition) == "cleaned up"
    with pytest.raises(grpc.RpcError, match="not found"):
        served_plane.plane.call("StopRunner", stop)


def test_text_that_is_not_valid_unicode(served_plane, served):
    """
    What a function prints or raises arrives even if it has a file name that is not UTF-8;
    the bytes of that are replaced.
    """

    def work() -> None:
        name = "caf\udce9"
        print(f"printed {name}")
        raise ValueError(f"raised {name}")

    request = HostedRun(application_name="work")
    served.fill(request, work)
    messages = list(served_plane.plane.stream("Run", request))
    assert "printed caf?" in [log.message for each in messages for log in each.logs]
    value = messages[-1].return_value
    assert (value.was_it_raised, value.exception_message) == (True, "raised caf?")
    assert "raised caf?" in value.stringized_traceback
    assert str(cloudpickle.loads(value.definition)) == "raised caf\udce9"
