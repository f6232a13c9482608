"""Checks where an App class is defined, and its instances."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from fal_core import OptionError
from fal_serve import App, endpoint, realtime


def nothing(self: Any) -> None: ...


def batch(self: Any, *inputs: int) -> list[int]: ...


def copy(function: Any) -> Any:
    return type(function)(function.__code__, globals(), function.__name__)


@pytest.mark.parametrize(
    "name", ["setup", "teardown", "handle_exit", "spawn", "openapi", "title", "image"]
)
def test_endpoint_is_no_attribute_of_every_application(name: str):
    """An endpoint cannot have the name of a hook or an option."""
    with pytest.raises(OptionError, match=f"'{name}' is an attribute of every application"):
        type("Wrong", (App,), {name: endpoint("/a")(copy(nothing))})
    with pytest.raises(OptionError, match=f"'{name}' is an attribute of every application"):
        type("Wrong", (App,), {name: realtime("/a")(lambda self, input: None)})


def test_health_may_be_an_endpoint():
    """``health`` can be an endpoint if it takes no arguments, as it also answers GET."""
    type("Fine", (App,), {"health": endpoint("/health")(copy(nothing))})
    with pytest.raises(OptionError, match="Leave out 'seed'"):

        class Wrong(App):
            @endpoint("/health")
            def health(self, seed: int) -> None: ...


def test_init_is_not_overridden():
    """An __init__ is refused, in a base class too; setup is the place for it."""
    with pytest.raises(OptionError, match="has an __init__ of its own"):

        class Wrong(App):
            def __init__(self) -> None:
                self.model = None


@pytest.mark.parametrize("hook", ["setup", "teardown", "handle_exit", "health"])
def test_hooks_are_methods(hook: str):
    """A hook must be callable."""
    with pytest.raises(OptionError, match=f"Class 'Wrong': '{hook}' is a method .* be 5"):
        type("Wrong", (App,), {hook: 5})


def test_hints_are_given_at_once():
    """provide_hints cannot be a coroutine function."""
    with pytest.raises(OptionError, match="provide_hints cannot be 'async def'"):

        class Wrong(App):
            async def provide_hints(self) -> list[str]:
                return []


class Stateful(App, kind="current"):
    def setup(self) -> None:
        self.loaded = [1, 2]

    @endpoint("/")
    def read(self) -> list[int]:
        return self.loaded


def test_instances_travel_in_pickles():
    """An application that was set up can be pickled."""
    import cloudpickle

    app = Stateful()
    app.setup()
    again = pickle.loads(cloudpickle.dumps(app))
    assert again.read() == [1, 2]
    assert again.current_request is None


def test_metadata_has_pages_that_the_document_has_not():
    """
    What a deployment ships tells of all that there is to read: of routes that are left out of
    the document, and of what is mounted, but not of what FastAPI adds.
    """

    class Paged(App):
        @endpoint("/work")
        def work(self) -> int:
            return 1

        def add_routes(self, application: Any) -> None:
            application.add_route("/docs", nothing, include_in_schema=False)
            application.add_api_route("/sent", nothing, methods=["POST"])
            application.add_api_websocket_route("/live", nothing)
            application.mount("/site", nothing)

    pages = Paged.build_metadata()["own_pages"]

    assert sorted(set(pages) - {"/health"}) == ["/docs", "/site/{path:path}"]
