"""Annotations of handlers, resolved so that they can travel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from fal_core_worker.serving.routes import RouteSignature
from fal_serve import App, BaseServable, catch_gpu_exceptions, endpoint, realtime
from fal_serve.declaring.annotations import restore, textual_annotations


class Item(BaseModel):
    name: str


def serve(item: Item, note: Missing = None) -> Item: ...  # noqa: F821  # missing on purpose


class Application(App):
    @endpoint("/")
    @catch_gpu_exceptions()
    def find(self, item: Item) -> Item: ...

    @realtime("/talk")
    def talk(self, item: Item) -> Item: ...

    def helper(self, item: Item) -> None: ...


class Written(BaseServable):
    def collect_routes(self) -> dict[RouteSignature, Callable[..., Any]]:
        return {RouteSignature("/"): self.find}

    def find(self, item: Item) -> Item: ...


def found_in(served: Any) -> dict[str, dict[str, Any]]:
    """Return the resolved annotations by the names of their functions."""
    return {function.__name__: types for function, types in textual_annotations(served)}


def test_annotations_of_a_function_are_resolved_where_they_can():
    """Text that names no type is left out."""
    assert found_in(serve) == {"serve": {"item": Item, "return": Item}}


def test_annotations_of_a_class_are_those_of_its_endpoints():
    """Endpoints of every kind count, with what their decorators wrap; other methods do not."""
    find: Any = Application.find
    functions = [function for function, _ in textual_annotations(Application)]
    assert functions[:2] == [find, find.__wrapped__]
    expected = {"item": Item, "return": Item}
    assert found_in(Application) == {"find": expected, "talk": expected}


def test_any_method_may_be_a_handler_of_routes_that_are_written_by_hand():
    """Without marked endpoints, all methods of the user's classes are resolved."""
    found = found_in(Written)
    assert found["find"] == {"item": Item, "return": Item}
    assert set(found) == {"find", "collect_routes"}


@pytest.mark.parametrize("served", [Application, serve])
def test_restored_annotations_are_types(served: Any):
    """Restored annotations replace the text, and leave the others as they are."""
    found = textual_annotations(served)
    before = [dict(function.__annotations__) for function, _ in found]
    try:
        restore(found)
        for (function, types), written in zip(found, before, strict=True):
            assert function.__annotations__ == {**written, **types}
            assert function.__annotations__["item"] is Item
        assert textual_annotations(served) == []
    finally:
        restore(list(zip((function for function, _ in found), before, strict=True)))
