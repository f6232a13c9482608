"""Signatures of handlers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from fal_serve import catch_gpu_exceptions
from fal_serve.declaring.signatures import (
    batch_parameter,
    parameters_of,
    resolve_annotation,
    signature_of,
)


class Item: ...


def handle(items: list[Item], other: Missing = 1) -> Item: ...  # noqa: F821  # missing on purpose


#: The wrapper is written in another module, which has no items.
wrapped = catch_gpu_exceptions()(handle)


class Strange:
    """A callable whose signature nobody can read."""

    __signature__ = 3

    def __call__(self) -> None: ...


@pytest.mark.parametrize("function", [handle, wrapped])
def test_textual_annotations_are_resolved(function: Callable[..., Any]):
    """Text becomes the type that it names where the function is written; other text stays."""
    signature = signature_of(function)
    assert signature.parameters["items"].annotation == list[Item]
    assert signature.parameters["other"].annotation == "Missing"
    assert signature.parameters["other"].default == 1
    assert signature.return_annotation is Item


def test_annotation_that_is_a_type_is_left_alone():
    """Only text is resolved."""
    assert resolve_annotation(list[int], handle) == list[int]
    assert resolve_annotation(inspect.Signature.empty, handle) is inspect.Signature.empty


def test_parameter_of_a_batch_is_the_one_with_a_star():
    """A handler takes batches if it has ``*inputs``; a callable without a signature takes none."""

    def batch(first: int, *inputs: str, **rest: Any) -> None: ...

    found = batch_parameter(batch)
    assert found is not None
    assert found.name == "inputs"
    assert batch_parameter(handle) is None
    assert parameters_of(Strange()) == []
    assert batch_parameter(Strange()) is None
