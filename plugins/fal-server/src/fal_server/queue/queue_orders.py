"""
The order of the queue: the requests that no runner has, by application.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

import attrs

from fal_server.store.queued_requests import QueuedRequest

#: The owner and the alias of an application.
Name = tuple[str, str]

#: The place of a request among those to its application: its priority and its number.
_Rank = tuple[int, int]


def application_of(request: QueuedRequest) -> Name:
    """
    Return the application of a request.
    """
    return request.owner_name, request.alias


@attrs.define(eq=False)
class QueueOrder:
    """
    The requests that wait for a runner, by application. Joining, leaving and finding a
    position takes no longer the more of them wait.
    """

    _ranks: dict[Name, list[_Rank]] = attrs.field(factory=dict)
    _ids: dict[Name, dict[_Rank, str]] = attrs.field(factory=dict)

    def add(self, request: QueuedRequest) -> None:
        """
        Note that a request waits.
        """
        name, rank = application_of(request), _rank(request)
        ids = self._ids.setdefault(name, {})
        if rank not in ids:
            insort(self._ranks.setdefault(name, []), rank)
            ids[rank] = request.id

    def discard(self, request: QueuedRequest) -> None:
        """
        Note that a request waits no more, if it did.
        """
        name, rank = application_of(request), _rank(request)
        ids = self._ids.get(name, {})
        if ids.pop(rank, None) is None:
            return
        ranks = self._ranks[name]
        del ranks[bisect_left(ranks, rank)]
        if not ids:
            del self._ids[name], self._ranks[name]

    def position(self, request: QueuedRequest) -> int:
        """
        Return how many requests to the same application are ahead of *request*.
        """
        return bisect_left(self._ranks.get(application_of(request), ()), _rank(request))

    def of(self, owner: str, alias: str) -> list[str]:
        """
        Return the ids of the requests to an application, in their order.
        """
        name = (owner, alias)
        ids = self._ids.get(name, {})
        return [ids[rank] for rank in self._ranks.get(name, ())]

    def counts(self) -> Iterator[tuple[Name, int]]:
        """
        Yield each application that requests wait for, and how many.
        """
        for name, ranks in self._ranks.items():
            yield name, len(ranks)


def _rank(request: QueuedRequest) -> _Rank:
    return request.priority, request.number
