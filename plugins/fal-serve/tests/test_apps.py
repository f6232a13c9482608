"""
Checks and options where an App class is defined.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

import pytest

from fal_core import OptionError, ServedIsolatedFunction
from fal_core.explanations import explain
from fal_core.testing.hosts.in_process import InProcessHost
from fal_serve import App, HealthCheck, endpoint, realtime
from fal_serve.declaring.settings import ServiceSettings


class Base(App, kind="current", keep_alive=10, max_multiplexing=2):
    request_timeout = 5

    @endpoint("/base")
    def base(self) -> str:
        return "base"


class Mixin:
    startup_timeout = 7
    machine_type = "M"


class Derived(Mixin, Base, request_timeout=9, min_concurrency=1):
    keep_alive = None

    @endpoint("/")
    def own(self) -> str:
        return "own"


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"keep_alve": 1}, "Unknown option 'keep_alve'. Did you mean 'keep_alive'?"),
        ({"max_concurrency": "2"}, "Option 'max_concurrency' must be an integer"),
        ({"requirements": "numpy"}, "Option 'requirements' must be"),
        ({"kind": "nonsense"}, "No kind of environment is called 'nonsense'"),
        ({"kind": "current", "requirements": ["numpy"]}, "Option 'requirements' belongs to"),
        ({"app_auth": "secret"}, "Option 'app_auth' must be"),
        ({"name": 3}, "Option 'app_name' must be"),
        ({"local_python_modules": "models"}, "Option 'local_python_modules' must be"),
    ],
)
def test_wrong_options_are_refused_where_the_class_is_defined(
    keywords: dict[str, Any], sentence: str
):
    """
    Options are checked by the class statement, with the messages of the core.
    """
    with pytest.raises(OptionError) as caught:

        class Wrong(App, **keywords):
            pass

    assert str(caught.value).startswith(sentence)


def nothing(self: Any) -> None: ...


def batch(self: Any, *inputs: int) -> list[int]: ...


def copy(function: Any) -> Any:
    return type(function)(function.__code__, globals(), function.__name__)


@pytest.mark.parametrize(
    "name", ["setup", "teardown", "handle_exit", "spawn", "openapi", "title", "image"]
)
def test_endpoint_is_no_attribute_of_every_application(name: str):
    """
    An endpoint cannot have the name of a hook or an option.
    """
    with pytest.raises(OptionError, match=f"'{name}' is an attribute of every application"):
        type("Wrong", (App,), {name: endpoint("/a")(copy(nothing))})
    with pytest.raises(OptionError, match=f"'{name}' is an attribute of every application"):
        type("Wrong", (App,), {name: realtime("/a")(lambda self, input: None)})


def test_health_may_be_an_endpoint():
    """
    ``health`` can be an endpoint if it takes no arguments, as it also answers GET.
    """
    type("Fine", (App,), {"health": endpoint("/health")(copy(nothing))})
    with pytest.raises(OptionError, match="Leave out 'seed'"):

        class Wrong(App):
            @endpoint("/health")
            def health(self, seed: int) -> None: ...


def test_init_is_not_overridden():
    """
    An __init__ is refused, in a base class too; setup is the place for it.
    """
    with pytest.raises(OptionError, match="has an __init__ of its own"):

        class Wrong(App):
            def __init__(self) -> None:
                self.model = None


@pytest.mark.parametrize("hook", ["setup", "teardown", "handle_exit", "health"])
def test_hooks_are_methods(hook: str):
    """
    A hook must be callable.
    """
    with pytest.raises(OptionError, match=f"Class 'Wrong': '{hook}' is a method .* be 5"):
        type("Wrong", (App,), {hook: 5})


def test_hints_are_given_at_once():
    """
    provide_hints cannot be a coroutine function.
    """
    with pytest.raises(OptionError, match="provide_hints cannot be 'async def'"):

        class Wrong(App):
            async def provide_hints(self) -> list[str]:
                return []


def test_health_check_becomes_an_option():
    """
    The endpoint with a health check becomes the option for the host.
    """

    class Checked(App):
        @endpoint("/well", health_check=HealthCheck(timeout_seconds=3, method="get"))
        def well(self) -> str:
            return "yes"

    assert Checked.host_kwargs["health_check_config"] == {
        "path": "/well",
        "method": "GET",
        "timeout_seconds": 3,
        "start_period_seconds": None,
        "failure_threshold": None,
        "call_regularly": None,
    }


def test_application_is_an_isolated_function():
    """
    to_function returns an isolated function, and takes options that override the class's.
    """
    function = Derived.to_function(machine_type="L")
    assert isinstance(function, ServedIsolatedFunction)
    assert function.app_name == "derived"
    assert function.options.gateway == {"serve": True}
    assert function.options.get_exposed_port() == 8080
    assert function.options.host["machine_type"] == "L"
    assert Derived.host_kwargs["machine_type"] == "M"

    again = function.on(InProcessHost(), request_timeout=1)
    assert again.options.host["request_timeout"] == 1
    assert again.func._settings == ServiceSettings(
        request_timeout=1, startup_timeout=7, max_multiplexing=2
    )


def test_explanation_of_an_application():
    """
    An application can be explained like any function.
    """
    explanation = explain(Derived.to_function(kind="virtualenv"))
    assert explanation.function == "Derived"
    assert explanation.runs, explanation.reasons
    # The environment is given what serving needs, and what serves travels along.
    assert not [note for note in explanation.notes if "no requirement names" in note]
    rows = [each for each in explanation.travels if each.module.startswith("fal_serve")]
    assert [(each.module, each.how) for each in rows] == [("fal_serve", "source")]


class Stateful(App, kind="current"):
    def setup(self) -> None:
        self.loaded = [1, 2]

    @endpoint("/")
    def read(self) -> list[int]:
        return self.loaded


def test_instances_travel_in_pickles():
    """
    An application that was set up can be pickled.
    """
    import cloudpickle

    app = Stateful()
    app.setup()
    again = pickle.loads(cloudpickle.dumps(app))
    assert again.read() == [1, 2]
    assert again.current_request is None


def test_class_without_endpoints_is_a_base():
    """
    A class without endpoints is only refused when it is served.
    """

    line = sys._getframe().f_lineno + 2

    class Empty(App, kind="current"):
        pass

    with pytest.raises(ValueError, match=rf"test_apps\.py:{line}: Class 'Empty' has"):
        Empty().openapi()
