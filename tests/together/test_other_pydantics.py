"""Pydantic models between a caller and an environment that have different versions of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import FalMissingDependencyError, FalSerializationError

pydantic = pytest.importorskip("pydantic")
pytest.importorskip("fal_host_local")
pytest.importorskip("fal_env_virtualenv")

#: A minor that takes no models of later ones.
OTHER = "2.11.0"


class Point(pydantic.BaseModel):  # type: ignore[name-defined]  # it may not be there
    x: int = pydantic.Field(ge=0)


def named() -> str:
    """Return the expression of a sentence that names both versions, and what to do."""
    here, there = re.escape(pydantic.VERSION), re.escape(OTHER)
    return (
        rf"the caller has pydantic {here} with pydantic_core \S+, and the environment "
        rf"{there} with pydantic_core \S+\. Let both have one version: write "
        rf"'pydantic=={here}' in requirements, or install pydantic {there}"
    )


def test_function_with_a_model_of_another_pydantic_names_both() -> None:
    """A model that the environment cannot take is an error that says which versions there are."""

    @function("virtualenv", requirements=[f"pydantic=={OTHER}"])
    def double(point: Point) -> int:
        return 2 * Point(x=point.x).x

    with pytest.raises(FalSerializationError, match=named()):
        double(Point(x=1))


def test_model_of_another_pydantic_comes_back_whole_or_not_at_all() -> None:
    """
    A model that an environment defines checks what it is given here too, or is refused,
    also where it comes again.
    """

    @function("virtualenv", requirements=[f"pydantic=={OTHER}"])
    def give(_: Any) -> Any:
        from pydantic import BaseModel, Field

        class Local(BaseModel):
            n: int = Field(ge=0)

        return Local(n=3)

    for _ in range(2):
        (value,) = give.map([()], return_exceptions=True)
        if isinstance(value, FalSerializationError):
            assert re.search(named(), str(value))
        else:
            assert value.model_dump() == {"n": 3}
            with pytest.raises(pydantic.ValidationError):
                type(value)(n=-1)


def test_error_for_an_old_pydantic_says_which_is_needed() -> None:
    """The error for an environment whose pydantic has no pydantic_core asks for a newer pydantic."""

    @function("virtualenv", requirements=["pydantic==1.10.13"])
    def double(point: Point) -> int:
        return 2 * point.x

    with pytest.raises(FalMissingDependencyError, match="'pydantic>=2' to requirements"):
        double(Point(x=1))
