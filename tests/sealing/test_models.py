"""Pydantic models that travel with a function."""

from __future__ import annotations

from typing import Any

import pytest


def test_pydantic_models(worker: Any) -> None:
    """A pydantic model travels with its validators."""
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):  # type: ignore[misc, name-defined]  # imported at run time
        x: int = pydantic.Field(gt=0)

    def grow(model: Any) -> Any:
        return Model(x=model.x + 1)

    (grown,) = worker(grow, (Model(x=2),))
    assert type(grown) is Model
    assert grown.x == 3
