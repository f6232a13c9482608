"""Values that do not fit, on their way to become an error."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any, Literal

import attrs

from fal_core.conversion.annotations import alternatives, describe

#: Both are strict. ``text`` also takes names for enums, and strings for paths and dates.
Manner = Literal["written", "text"]


@attrs.define
class Mismatch(Exception):
    """
    A value that does not fit.

    Attributes:
        path: The way to it from the outermost value, as in ``("[2]", ".name")``.

        progress: How far the conversion came: the indices on that way.
    """

    value: Any
    expected: str
    path: tuple[str, ...] = ()
    progress: tuple[int, ...] = ()

    def inside(self, step: str, index: int = 0) -> Mismatch:
        """Return it as seen from the value that holds it at *step*."""
        return Mismatch(self.value, self.expected, (step, *self.path), (index, *self.progress))


def nearest(mismatches: Sequence[Mismatch], target: Any) -> Mismatch:
    """
    Return the mismatch to report where no arm of the union *target* fits.

    It is that of the arm that came furthest, or one that describes the whole union.
    """
    furthest = max(mismatch.progress for mismatch in mismatches)
    closest = [mismatch for mismatch in mismatches if mismatch.progress == furthest]
    if furthest:
        words = alternatives([mismatch.expected for mismatch in closest])
    else:
        words = describe(target)
    return attrs.evolve(closest[0], expected=words)


def show(value: Any) -> str:
    """Return the shortened ``repr`` of *value*, and its type."""
    if value is None:
        return "None"
    return f"{reprlib.repr(value)} ({type(value).__name__})"
