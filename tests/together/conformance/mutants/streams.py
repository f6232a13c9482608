"""Hosts that break the laws of streams."""

from __future__ import annotations

import attrs

from fal_core.events import Credit, Event, Item, Log, Outcome, Sealed
from fal_core_worker.opening.seals import PLAIN_PREFIX
from mutants.conditions import is_error, is_recorded
from mutants.wrappers import Broken, Passing


@attrs.define(eq=False, slots=False)
class LosesAnItem(Broken):
    """Loses one item of a stream."""

    index: int

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Item) and not passing.call.batch:
            passing.count += 1
            if passing.count == self.index:
                return
        passing.send_on(event)


class ForgetsWhatIsReturned(Broken):
    """Passes on what a generator yields, and nothing else."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and not event.raised:
            event = Outcome(Sealed(PLAIN_PREFIX + b"N."))
        passing.send_on(event)


class HoldsItemsBack(Broken):
    """Sends an item when the next thing happens."""

    def take(self, event: Event, passing: Passing) -> None:
        for item in passing.held:
            passing.send_on(item)
        passing.held.clear()
        if isinstance(event, Item) and passing.call.stream:
            passing.held.append(event)
        else:
            passing.send_on(event)


class ForgetsItemsOfErrors(Broken):
    """Forgets the last item where the generator raised then."""

    def take(self, event: Event, passing: Passing) -> None:
        if is_error(event):
            passing.held.clear()
        for item in passing.held:
            passing.send_on(item)
        passing.held.clear()
        if isinstance(event, Item) and passing.call.stream:
            passing.held.append(event)
        else:
            passing.send_on(event)


class NeverHoldsBack(Broken):
    """Lets generators run as fast as they can."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Item) and not passing.count:
            passing.count = 1
            passing.send(Credit(100_000))
        passing.send_on(event)


class LogsAfterItems(Broken):
    """Sends the lines of a generator after the item that they came before."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Log) and passing.call.stream and is_recorded(passing):
            passing.held.append(event)
            return
        passing.send_on(event)
        for log in passing.held:
            passing.send_on(log)
        passing.held.clear()
