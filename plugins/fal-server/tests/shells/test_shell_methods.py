"""The gRPC method that runs commands in runners."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from isolate_proto import ShellRunnerInput
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from programs import to_metadata


def enter(plane: Any, *requests: ShellRunnerInput, key: str | None = None) -> list[Any]:
    with grpc.insecure_channel(plane.address) as channel:
        call = IsolateControllerStub(channel).ShellRunner(
            iter(requests), metadata=to_metadata(key or plane.key), timeout=60
        )
        return list(call)


def code_of(plane: Any, *requests: ShellRunnerInput, key: str | None = None) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        enter(plane, *requests, key=key)
    return caught.value.code()


def test_who_may_enter(served_plane: Any, app: str):
    """
    A runner is entered with the permission for that, by those whose runner it is, and nobody
    else learns that it is there.
    """
    plane = served_plane.plane
    served_plane.finish(app, served_plane.submit(app))
    pool = plane.plane.catalog.find("owner", app).pool
    [runner] = pool.runners
    request = ShellRunnerInput(runner_id=runner.id, command=["echo", "inside"], tty=False)
    *written, last = enter(plane, request)
    assert b"".join(each.data for each in written) == b"inside\n"
    assert {each.stream for each in written} == {1}
    assert last.exit_code == 0
    assert last.HasField("exit_code")

    reader = plane.make_key(policy_preset="READONLY")
    assert code_of(plane, request, key=reader) is grpc.StatusCode.PERMISSION_DENIED
    stranger = plane.add_user("stranger")
    assert code_of(plane, request, key=stranger) is grpc.StatusCode.NOT_FOUND
    assert code_of(plane, request, key="no:key") is grpc.StatusCode.UNAUTHENTICATED
    assert code_of(plane) is grpc.StatusCode.INVALID_ARGUMENT
    huge = ShellRunnerInput(runner_id=runner.id, command=["x"] * 2000)
    assert code_of(plane, huge) is grpc.StatusCode.INVALID_ARGUMENT
    other = ShellRunnerInput(runner_id="none")
    assert code_of(plane, other) is grpc.StatusCode.NOT_FOUND


def test_large_output_arrives_whole(served_plane: Any, app: str):
    """
    What a command writes arrives whole and in order, however much it is, and so does what it
    reads.
    """
    plane = served_plane.plane
    served_plane.finish(app, served_plane.submit(app))
    [runner] = plane.plane.catalog.find("owner", app).pool.runners
    content = bytes(range(256)) * 20_000
    *written, last = enter(
        plane,
        ShellRunnerInput(runner_id=runner.id, command=["cat"], tty=False),
        ShellRunnerInput(data=content),
        ShellRunnerInput(close=True),
    )
    assert b"".join(each.data for each in written) == content
    assert last.exit_code == 0
