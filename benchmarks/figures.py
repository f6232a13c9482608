"""What is measured: figures, who takes part, and the goals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

FAL_CORE = "fal-core"

#: The peer of a goal that is set against whichever does best.
BEST = "the best peer"

TIMES = "\N{MULTIPLICATION SIGN}"

Role = Literal["fal-core", "peer", "reference"]

#: Measures once, and returns a number: seconds, bytes, or calls per second.
Measure = Callable[[], float]

_UNITS = {
    "s": (1.0, "{:,.3f} s"),
    "ms": (1e3, "{:,.1f} ms"),
    "µs": (1e6, "{:,.1f} µs"),
    "calls/s": (1.0, "{:,.0f} calls/s"),
    "requests/s": (1.0, "{:,.0f} requests/s"),
    "messages/s": (1.0, "{:,.0f} messages/s"),
    "kB": (1e-3, "{:,.1f} kB"),
    "MiB": (1 / (1 << 20), "{:,.1f} MiB"),
}


@attrs.frozen(kw_only=True)
class Contestant:
    """
    One way to do what a figure measures.

    Attributes:
        target: ``module:name`` of a context manager that gives a Measure.

        settings: Its keyword arguments.

        needs: Modules without which it does not take part.

        role: A reference is a lower bound of what can be had, and no peer: the
            goals against the best peer leave it out.

        pinned: Whether its client is kept on one core and its workers on another.

        private: Whether it gets a process namespace of its own, so that whatever
            it starts ends with it.
    """

    name: str
    target: str
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    needs: tuple[str, ...] = ()
    role: Role = "peer"
    pinned: bool = True
    private: bool = False


@attrs.frozen(kw_only=True)
class Goal:
    """
    A bound on what fal-core shows: at most *factor* times a peer, plus *plus*.

    Attributes:
        against: The name of a contestant, BEST, or None for a bound by itself.

        at_least: Whether more is better.
    """

    against: str | None = None
    factor: float = 1.0
    plus: float = 0.0
    at_least: bool = False

    def limit(self, value: float | None) -> float:
        """Return the bound, where the peer shows *value*."""
        return (value or 0.0) * self.factor + self.plus

    def is_met(self, own: float, value: float | None) -> bool:
        """Tell whether *own* is within the bound."""
        limit = self.limit(value)
        return own >= limit if self.at_least else own <= limit

    def describe(self, unit: str) -> str:
        """Return the goal as the table has it."""
        sign = "≥" if self.at_least else "≤"
        if self.against is None:
            return f"{sign} {show(self.plus, unit)}"
        if self.plus:
            return f"{sign} peer + {show(self.plus, unit)}"
        return f"{sign} {self.factor:g} {TIMES}"


@attrs.frozen(kw_only=True)
class Figure:
    """
    One question, the contestants that answer it, and the goals.

    Attributes:
        note: What exactly is measured, in a line under the title.

        fresh: Whether each round has new client processes.
    """

    name: str
    title: str
    unit: str
    contestants: tuple[Contestant, ...]
    goals: tuple[Goal, ...] = ()
    note: str = ""
    fresh: bool = False


@attrs.frozen(kw_only=True)
class Result:
    """
    What the contestants of a figure showed.

    Attributes:
        samples: One number a round, by contestant.

        missing: Why a contestant took no part, by contestant.
    """

    figure: Figure
    samples: Mapping[str, tuple[float, ...]]
    missing: Mapping[str, str] = attrs.field(factory=dict)

    def value(self, name: str) -> float | None:
        """Return the median of a contestant."""
        from statistics import median

        samples = self.samples.get(name)
        return median(samples) if samples else None

    def best_peer(self, *, at_least: bool) -> str | None:
        """Return the peer that does best."""
        values = {
            contestant.name: value
            for contestant in self.figure.contestants
            if contestant.role == "peer" and (value := self.value(contestant.name)) is not None
        }
        choose = max if at_least else min
        return choose(values, key=values.__getitem__) if values else None

    def peer(self, goal: Goal) -> str | None:
        """Return the name of the contestant that *goal* is set against."""
        return self.best_peer(at_least=goal.at_least) if goal.against == BEST else goal.against

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        own = self.value(FAL_CORE)
        goals = []
        for goal in self.figure.goals:
            peer = self.peer(goal)
            value = None if peer is None else self.value(peer)
            known = own is not None and (goal.against is None or value is not None)
            goals.append(
                {
                    "against": peer,
                    "limit": goal.limit(value) if known else None,
                    "met": goal.is_met(own, value) if known and own is not None else None,
                }
            )
        return {
            "figure": self.figure.name,
            "title": self.figure.title,
            "note": self.figure.note,
            "unit": "seconds" if self.figure.unit in ("s", "ms", "µs") else self.figure.unit,
            "medians": {name: self.value(name) for name in self.samples},
            "samples": {name: list(samples) for name, samples in self.samples.items()},
            "missing": dict(self.missing),
            "goals": goals,
        }


def show(value: float, unit: str) -> str:
    """Return *value*, in the base unit, as people read it."""
    factor, form = _UNITS[unit]
    return form.format(value * factor)
