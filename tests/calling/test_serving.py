"""Serving: what the call of a served function runs, and what that needs."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.calling.serving import (
    Server,
    extend_environment,
    make_server,
    missing_requirements,
)
from fal_core.environments import CurrentEnvironment
from fal_core.errors import UnsupportedError
from fal_core.hooks import hookimpl
from fal_core.plugins import load_plugins, registered
from fal_core.routes import RouteSignature
from fal_testing import InProcessHost


class Serving(Server):
    """Serves nothing."""

    requirements = ("fastapi>=0.1", "Web_Sockets")

    def __init__(self, func: Any = None) -> None:
        self.func = func

    def __call__(
        self, *, exposed_port: int | None = None, exposed_metrics_port: int | None = None
    ) -> None: ...


@attrs.frozen(kw_only=True)
class Layered(CurrentEnvironment):
    """An environment with requirements."""

    kind: ClassVar[str] = "layered"

    requirements: tuple[Any, ...] | None = None

    def extend(self, requirements: Iterable[str]) -> Layered:
        return attrs.evolve(self, requirements=(*(self.requirements or ()), *requirements))


def answer() -> int:
    return 42


def test_a_server_serves_itself() -> None:
    """A server that is declared as the function is what its call runs."""
    server = Serving(answer)
    isolated = function("current", host=InProcessHost())(server)
    assert make_server(isolated.declaration) is server


@pytest.mark.skipif(
    bool(load_plugins().hooks.each("fal_create_server")), reason="a plugin serves"
)
def test_without_a_plugin_nothing_is_served() -> None:
    """The error says what to install."""
    isolated = function("current", host=InProcessHost())(answer)
    with pytest.raises(UnsupportedError, match=r"`pip install 'fal-core\[serve\]'`"):
        make_server(isolated.declaration)


def test_a_plugin_makes_the_server() -> None:
    """The plugin is given the function as the one route, and the options."""
    asked: list[Any] = []

    def create(routes: Any, gateway: Any, options: Any) -> Server:
        asked.append((routes, gateway.exposed_port, options.keep_alive))
        return Serving(answer)

    made: Any = ModuleType("serving")
    made.fal_core_api = 1
    made.fal_create_server = hookimpl(create, tryfirst=True)
    isolated = function("current", host=InProcessHost(), exposed_port=80, keep_alive=3)(answer)
    with registered(made):
        assert isinstance(make_server(isolated.declaration), Serving)
    assert asked == [({RouteSignature("/"): answer}, 80, 3.0)]


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        (None, ("fastapi>=0.1", "Web_Sockets")),
        (("fastapi==0.2",), ("Web_Sockets",)),
        ((("numpy",), ["FastAPI", "web.sockets==3"]), ()),
        (("fastapi-utils", "https://files.test/websockets.whl"), Serving.requirements),
    ],
)
def test_requirements_of_the_user_come_first(asked: Any, missing: tuple[str, ...]) -> None:
    """What the environment asks for in any version and spelling is not added."""
    environment = Layered(requirements=asked)
    assert missing_requirements(environment, Serving()) == missing
    extended = extend_environment(environment, Serving())
    assert extended.requirements == ((*(asked or ()), *missing) if missing else asked)
    assert (extended is environment) == (not missing)
