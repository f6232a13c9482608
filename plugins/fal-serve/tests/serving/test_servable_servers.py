"""The picklable callable that serves a function or a class."""

from __future__ import annotations

import pickle
from importlib.metadata import requires
from typing import Any

from fal_serve import App, endpoint
from fal_serve.declaring.settings import ServiceSettings
from fal_serve.servables import make_servable
from fal_serve.serving.servable_servers import REQUIREMENTS, ServableServer, pin_own_pydantic


def double(number: int) -> int:
    return 2 * number


class Described(App, kind="current"):
    @endpoint("/size")
    def size(self, text: str) -> int:
        return len(text)

    @classmethod
    def build_metadata(cls) -> dict[str, Any]:
        return {**super().build_metadata(), "mine": True}


def server_of(served: Any) -> ServableServer:
    return ServableServer(served, make_servable, ServiceSettings())


def test_a_function_is_described_by_its_document():
    """The metadata of a function is its OpenAPI document."""
    document = server_of(double).build_metadata()["openapi"]
    assert list(document["paths"]) == ["/"]


def test_a_class_describes_itself():
    """A class may add to the metadata of its application."""
    metadata = server_of(Described).build_metadata()
    assert "/size" in metadata["openapi"]["paths"]
    assert metadata["mine"] is True


def test_a_server_stands_in_for_its_function():
    """The server has the name and module of its function, and pickles."""
    server = server_of(len)
    assert (server.__name__, server.__module__) == ("len", "builtins")  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(server))
    assert again.func is len
    assert tuple(again.requirements) == pin_own_pydantic(REQUIREMENTS)


def test_an_environment_is_given_what_the_package_depends_on() -> None:
    """
    The requirements of serving are those of this package, those of its client too, which an
    application uses for others.
    """
    declared = {each.replace('"', "'") for each in requires("fal-serve") or ()}
    assert declared - set(REQUIREMENTS) == {"fal-core~=0.1.0"}
    assert set(REQUIREMENTS) <= declared
