"""
Following detached work from another process.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fal_core.abilities import detaching
from fal_core.calling.spawning import SpawnFuture, SpawnSink
from fal_core.policies import Policy
from fal_core.sealing.opener import Opener
from fal_core.spawns import SpawnInfo

if TYPE_CHECKING:
    from fal_core.functions import IsolatedFunction
    from fal_core.hosts import Host


def attach(
    host: Host[Any, Any] | str,
    reference: str,
    function: IsolatedFunction[..., Any] | None = None,
    *,
    after: int = 0,
) -> SpawnInfo:
    """
    Follow detached work on *host*, as if this process had spawned it.

    Arguments:
        reference: What the work is called there, as ``SpawnInfo.reference`` tells.

        function: The function that was spawned, where its classes matter.

        after: How many events to leave out, as they were seen already.

    Raises:
        HostError: There is no such work, or the host detaches none.
    """
    from fal_core.declaring.named_hosts import to_host

    place = to_host(host)
    launcher: Any = _Follower() if function is None else function.make_launcher()
    info = SpawnInfo(SpawnFuture())
    sink = SpawnSink(launcher, info)
    execution = detaching(place).attach(reference, sink, after)
    info.stream = execution
    sink.follow(execution)
    assert isinstance(info.future, SpawnFuture)
    info.future.execution = execution
    return info


class _Follower:
    """
    What opening a result needs of a launcher, where the function is not known.
    """

    policy = Policy()
    function = SimpleNamespace(flavour="function")
    seal = SimpleNamespace(name="the detached call", classes=frozenset())
    opener = Opener(name="the detached call")
