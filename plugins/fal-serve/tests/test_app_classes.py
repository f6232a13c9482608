"""
What is said where an App class is defined.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

import pytest
from fastapi import WebSocket

from fal_core import OptionError, ServedIsolatedFunction
from fal_core.explanations.explaining import explain
from fal_core.testing.hosts.in_process import InProcessHost
from fal_core_worker.serving.routes import RouteSignature
from fal_serve import App, HealthCheck, endpoint, realtime
from fal_serve.settings import Settings


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


def test_options_come_from_keywords_and_attributes_of_all_bases():
    """
    The class that is nearest says what an option is, whichever way it says so.
    """
    assert Derived.host_kwargs == {
        "kind": "current",
        "max_multiplexing": 2,
        "request_timeout": 9,
        "min_concurrency": 1,
        "startup_timeout": 7,
        "machine_type": "M",
    }
    assert Base.host_kwargs == {
        "kind": "current",
        "keep_alive": 10,
        "max_multiplexing": 2,
        "request_timeout": 5,
    }
    assert Derived.request_timeout == 9
    assert Derived.max_multiplexing == 2


def test_host_kwargs_take_options_that_are_no_attributes():
    """
    Options that only a plugin knows are keywords, or written in host_kwargs.
    """

    class Scheduled(App, _scheduler="fair"):
        host_kwargs = {"private_logs": True, "kind": "current"}

    class Nested(Scheduled, private_logs=False):
        pass

    assert Scheduled.host_kwargs == {
        "_scheduler": "fair",
        "private_logs": True,
        "kind": "current",
    }
    assert Nested.host_kwargs == {**Scheduled.host_kwargs, "private_logs": False}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ONNXModel", "onnx-model"),
        ("TextToImage2", "text-to-image2"),
        ("my_app", "my-app"),
        ("_Private", "private"),
        ("A", "a"),
        ("Über", "ber"),
    ],
)
def test_name_is_made_of_the_class_name(name: str, expected: str):
    """
    An application is called as its class is, in words and hyphens.
    """
    assert type(name, (App,), {}).app_name == expected


def test_name_is_said_or_made_and_never_inherited():
    """
    A name may be a keyword or an attribute; a subclass has one of its own.
    """

    class First(App, name="said"):
        pass

    class Second(First):
        pass

    class Third(First):
        app_name = "written"

    assert [First.app_name, Second.app_name, Third.app_name] == ["said", "second", "written"]


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
    An option is checked by the statement of the class, with the sentence of the core.
    """
    with pytest.raises(OptionError) as caught:

        class Wrong(App, **keywords):
            pass

    assert str(caught.value).startswith(sentence)


def test_option_is_not_said_twice():
    """
    A class that says an option as a keyword does not say it as an attribute too.
    """
    with pytest.raises(OptionError, match="'keep_alive' is written as a keyword"):

        class Twice(App, keep_alive=1):
            keep_alive = 2


def test_host_kwargs_are_a_dictionary():
    """
    What is no dictionary of options is refused.
    """
    with pytest.raises(OptionError, match="host_kwargs must be a dictionary"):

        class Wrong(App):
            host_kwargs = ["keep_alive"]


def nothing(self: Any) -> None: ...


def batch(self: Any, *inputs: int) -> list[int]: ...


def batch_and_more(self: Any, *inputs: int, seed: int = 0) -> list[int]: ...


def yielding_batch(self: Any, *inputs: int):
    yield 1


async def socket(self: Any, websocket: WebSocket) -> None: ...


async def no_socket(self: Any, connection: str) -> None: ...


def plain_socket(self: Any, websocket: WebSocket) -> None: ...


def copy(function: Any) -> Any:
    return type(function)(function.__code__, globals(), function.__name__)


def annotated(function: Any) -> Any:
    made = copy(function)
    made.__annotations__ = function.__annotations__
    return made


@pytest.mark.parametrize(
    ("handlers", "sentence"),
    [
        ([(nothing, "/a", {}), (nothing, "/a", {})], "are both the endpoint at '/a'"),
        (
            [(nothing, "/a/{x}", {}), (nothing, "/a/{y}", {})],
            "are both the endpoint at '/a/{x}', which is '/a/{y}'",
        ),
        (
            [(nothing, "/{x:int}", {}), (nothing, "/{y:int}", {})],
            "are both the endpoint at '/{x:int}', which is '/{y:int}'",
        ),
        (
            [
                (nothing, "/a", {"health_check": HealthCheck()}),
                (nothing, "/b", {"health_check": HealthCheck()}),
            ],
            "are all health checks, and there can be one",
        ),
        (
            [(socket, "/a", {"is_websocket": True, "health_check": HealthCheck()})],
            "is a websocket, and cannot be the health check",
        ),
        ([(nothing, "/a", {"health_check": True})], "must be a HealthCheck"),
        (
            [(no_socket, "/a", {"is_websocket": True})],
            "must have a parameter annotated with 'WebSocket': 'async def",
        ),
        ([(plain_socket, "/a", {"is_websocket": True})], "must be 'async def': 'async def"),
        (
            [(nothing, "/a", {"is_websocket": True})],
            "must be 'async def' and have a parameter annotated with 'WebSocket'",
        ),
        ([(nothing, "/a", {"max_batch_size": 2})], "and takes no batches"),
        (
            [(socket, "/a", {"is_websocket": True, "max_batch_size": 2})],
            "must have no max_batch_size",
        ),
        ([(batch_and_more, "/a", {})], r"cannot have other parameters \(seed\)"),
        ([(yielding_batch, "/a", {})], "takes batches, and cannot yield"),
    ],
)
def test_handlers_that_cannot_be_served_are_refused(handlers: list[Any], sentence: str):
    """
    What is wrong with the endpoints of a class is said where it is defined.
    """
    space = {
        f"handler{index}": endpoint(path, **options)(annotated(function))
        for index, (function, path, options) in enumerate(handlers)
    }
    with pytest.raises(OptionError, match=f"Class 'Wrong': .*{sentence}"):
        type("Wrong", (App,), space)


@pytest.mark.parametrize(
    ("path", "options", "sentence"),
    [
        ("predict", {}, "must begin with '/'"),
        (None, {}, "must begin with '/'"),
        ("/a{", {}, "'/a{' of endpoint 'nothing' has a brace"),
        ("/a}/{x}", {}, "has a brace"),
        ("/{a-b}", {}, "has a brace"),
        ("/{a}/{a}", {}, "has the parameter 'a' 2 times"),
        ("/{a:number}", {}, "no known kind of parameter in '{a:number}'. Known: float, int"),
        ("/a", {"max_batch_size": 0}, "max_batch_size .* at least 1, not 0"),
        ("/a", {"max_batch_size": True}, "max_batch_size .* not True"),
        ("/a", {"batch_wait": -1}, "batch_wait .* at least 0, not -1"),
    ],
)
def test_endpoint_that_cannot_be_is_refused(path: Any, options: Any, sentence: str):
    """
    The decorator says what is wrong with what it was given.
    """
    with pytest.raises(OptionError, match=sentence):
        endpoint(path, **options)(copy(nothing))


def test_paths_may_differ_in_the_kinds_of_their_parameters():
    """
    What matches other paths is no clash.
    """

    class Fine(App):
        by_number = endpoint("/{x:int}")(copy(nothing))
        by_name = endpoint("/{x}")(copy(nothing))
        below = endpoint("/a/{x:path}")(copy(nothing))
        fixed = endpoint("/a")(copy(nothing))

    assert len(Fine.get_endpoints()) == 4


@pytest.mark.parametrize(
    "name", ["setup", "teardown", "handle_exit", "spawn", "openapi", "title", "image"]
)
def test_endpoint_is_no_attribute_of_every_application(name: str):
    """
    A hook that answers requests too, or an option, is a mistake.
    """
    with pytest.raises(OptionError, match=f"'{name}' is an attribute of every application"):
        type("Wrong", (App,), {name: endpoint("/a")(copy(nothing))})
    with pytest.raises(OptionError, match=f"'{name}' is an attribute of every application"):
        type("Wrong", (App,), {name: realtime("/a")(lambda self, input: None)})


def test_health_may_be_an_endpoint():
    """
    It answers GET as well, so that it takes nothing.
    """
    type("Fine", (App,), {"health": endpoint("/health")(copy(nothing))})
    with pytest.raises(OptionError, match="Leave out 'seed'"):

        class Wrong(App):
            @endpoint("/health")
            def health(self, seed: int) -> None: ...


def test_function_has_one_route():
    """
    Two decorators on one function are refused, and both paths are named.
    """
    with pytest.raises(OptionError, match=r"'/a' already, and cannot answer at '/b'"):
        endpoint("/b")(endpoint("/a")(copy(nothing)))


def test_endpoint_and_websocket_may_share_a_path():
    """
    A path is taken once over HTTP and once over websockets.
    """

    class Both(App):
        post = endpoint("/a")(copy(nothing))
        connect = endpoint("/a", is_websocket=True)(annotated(socket))

    assert Both.get_endpoints() == ["/a", "/a"]


def test_init_is_not_overridden():
    """
    What is prepared belongs into setup, and an __init__ is refused; so in a base.
    """
    with pytest.raises(OptionError, match="has an __init__ of its own"):

        class Wrong(App):
            def __init__(self) -> None:
                self.model = None


@pytest.mark.parametrize("hook", ["setup", "teardown", "handle_exit", "health"])
def test_hooks_are_methods(hook: str):
    """
    What is called by its name is no attribute of another kind.
    """
    with pytest.raises(OptionError, match=f"Class 'Wrong': '{hook}' is a method .* be 5"):
        type("Wrong", (App,), {hook: 5})


@pytest.mark.parametrize("decorator", [endpoint, realtime])
def test_decorators_are_called(decorator: Any):
    """
    Without a path a decorator says how it is written.
    """
    with pytest.raises(OptionError, match=r"Write @(endpoint|realtime)\('/nothing'\)"):
        decorator(nothing)


def no_parameter(): ...


def only_input(prompt: str): ...


def only_inputs(*prompts: str): ...


@pytest.mark.parametrize("function", [no_parameter, only_input, only_inputs])
def test_endpoints_are_methods(function: Any):
    """
    A handler without self is refused; a static method is one without.
    """
    with pytest.raises(OptionError, match=r"Write 'def handler\(self, …\)'"):
        type("Wrong", (App,), {"handler": endpoint("/")(annotated(function))})

    type("Right", (App,), {"handler": staticmethod(endpoint("/")(annotated(function)))})


def test_realtime_endpoints_are_methods():
    """
    So are those for websockets.
    """
    with pytest.raises(OptionError, match=r"Write 'def talk\(self, …\)'"):

        class Wrong(App):
            @realtime("/")
            def talk(prompt: str) -> str:
                return prompt


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_multiplexin", "max_multiplexing"),
        ("keepalive", "keep_alive"),
        ("requirement", "requirements"),
    ],
)
def test_attribute_that_is_nearly_an_option_is_refused(name: str, meant: str):
    """
    A misspelt option is not taken for an attribute of the user's own.
    """
    with pytest.raises(OptionError, match=f"'{name}' is no option. Did you mean '{meant}'"):
        type("Wrong", (App,), {name: 4})


@pytest.mark.parametrize("name", ["images", "secret", "model_name", "startup_time", "port"])
def test_other_attributes_are_the_users(name: str):
    """
    What only resembles an option is an attribute like any other.
    """
    assert getattr(type("Right", (App,), {name: 4}), name) == 4


def test_hints_are_given_at_once():
    """
    provide_hints goes with each answer, and is no coroutine function.
    """
    with pytest.raises(OptionError, match="provide_hints cannot be 'async def'"):

        class Wrong(App):
            async def provide_hints(self) -> list[str]:
                return []


def test_routes_are_those_of_all_bases_in_the_order_of_their_paths():
    """
    A subclass has the endpoints of its bases; one that it overrides is its own.
    """

    class Last(Derived):
        @endpoint("/base", max_batch_size=1)
        def base(self) -> str:
            return "overridden"

    routes = Last().collect_routes()
    assert list(routes) == [RouteSignature("/"), RouteSignature("/base")]
    assert routes[RouteSignature("/base")]() == "overridden"


def test_health_check_becomes_an_option():
    """
    The endpoint that is the health check is told to the host.
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
    An application has a function that says where it runs, and takes other options.
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
    assert again.func._settings == Settings(
        request_timeout=1, startup_timeout=7, max_multiplexing=2
    )


def test_explanation_of_an_application():
    """
    What a host would do with an application is told as of any function.
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
    An application that is set up can be sent to a process of its own.
    """
    import cloudpickle

    app = Stateful()
    app.setup()
    again = pickle.loads(cloudpickle.dumps(app))
    assert again.read() == [1, 2]
    assert again.current_request is None


def test_class_without_endpoints_is_a_base():
    """
    A class without endpoints is fine until it is to be served.
    """

    line = sys._getframe().f_lineno + 2

    class Empty(App, kind="current"):
        pass

    with pytest.raises(ValueError, match=rf"test_app_classes\.py:{line}: Class 'Empty' has"):
        Empty().openapi()
