"""
Mismatches: what does not fit, while it is on its way to become an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import attrs

from fal_core.conversion.annotations import alternatives, describe

#: ``written`` is strict. ``wire`` takes whole doubles for integers and ignores
#: unknown keys. ``text`` is strict, and takes names for enums and strings for paths.
Manner = Literal["written", "wire", "text"]


@attrs.define
class Mismatch(Exception):
    """
    A value that does not fit.

    Attributes:
        path: The way to it from the outermost value, as in ``("[2]", ".name")``.

        progress: How far the converter came: the indices on that way.
    """

    value: Any
    expected: str
    path: tuple[str, ...] = ()
    progress: tuple[int, ...] = ()

    def inside(self, step: str, index: int = 0) -> Mismatch:
        """
        Return it as seen from the value that holds it at *step*.
        """
        return Mismatch(self.value, self.expected, (step, *self.path), (index, *self.progress))


def nearest(mismatches: Sequence[Mismatch], target: Any) -> Mismatch:
    """
    Return what to say where no arm of the union *target* fits.

    It is what the arm says that came furthest, or what the whole union is.
    """
    furthest = max(mismatch.progress for mismatch in mismatches)
    closest = [mismatch for mismatch in mismatches if mismatch.progress == furthest]
    if furthest:
        words = alternatives([mismatch.expected for mismatch in closest])
    else:
        words = describe(target)
    return attrs.evolve(closest[0], expected=words)
