"""
The order of the queue: the requests that no runner has, by application.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import attrs

from fal_server.store.queued_requests import QueuedRequest

#: The owner and the alias of an application.
Name = tuple[str, str]

#: The priority and the number of a request, by which those of an application are sorted,
#: and its id.
_Place = tuple[int, int, str]


@attrs.define(eq=False)
class QueueOrder:
    """
    The requests that wait for a runner, by application, each list sorted. None of the
    methods that are called for each request visits those that wait.
    """

    _places: dict[Name, list[_Place]] = attrs.field(factory=dict)

    def add(self, request: QueuedRequest) -> None:
        """
        Note that a request waits.
        """
        places = self._places.setdefault(_application_of(request), [])
        index, waits = _find(places, request)
        if not waits:
            places.insert(index, _place_of(request))

    def discard(self, request: QueuedRequest) -> None:
        """
        Note that a request waits no more, if it did.
        """
        name = _application_of(request)
        places = self._places.get(name, [])
        index, waits = _find(places, request)
        if waits:
            del places[index]
            if not places:
                del self._places[name]

    def position(self, request: QueuedRequest) -> int:
        """
        Return how many requests to the same application are ahead of *request*.
        """
        index, _ = _find(self._places.get(_application_of(request), []), request)
        return index

    def of(self, owner: str, alias: str) -> list[str]:
        """
        Return the ids of the requests to an application, in their order.
        """
        return [id for _, _, id in self._places.get((owner, alias), [])]

    def counts(self) -> Iterator[tuple[Name, int]]:
        """
        Yield each application that requests wait for, and how many.
        """
        for name, places in self._places.items():
            yield name, len(places)


def _application_of(request: QueuedRequest) -> Name:
    return request.owner_name, request.alias


def _place_of(request: QueuedRequest) -> _Place:
    return request.priority, request.number, request.id


def _find(places: list[_Place], request: QueuedRequest) -> tuple[int, bool]:
    """
    Return the index of a request among *places*, and whether it is there.
    """
    place = _place_of(request)
    index = bisect_left(places, place)
    return index, places[index : index + 1] == [place]
