"""Options that the classes of applications declare."""

from __future__ import annotations

import inspect

import pytest

from fal_core import OptionError
from fal_serve import App
from fal_serve.declaring.options import ATTRIBUTES


def test_options_come_from_keywords_and_attributes_of_all_bases(
    base: type[App], derived: type[App]
):
    """The nearest class decides about an option, by keyword or attribute."""
    assert derived.host_kwargs == {
        "kind": "current",
        "max_multiplexing": 2,
        "request_timeout": 9,
        "min_concurrency": 1,
        "startup_timeout": 7,
        "machine_type": "M",
    }
    assert base.host_kwargs == {
        "kind": "current",
        "keep_alive": 10,
        "max_multiplexing": 2,
        "request_timeout": 5,
    }
    assert derived.request_timeout == 9
    assert derived.max_multiplexing == 2


def test_host_kwargs_take_options_that_are_no_attributes():
    """Options of plugins are keywords, or written in host_kwargs."""

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
    """The name of an application is that of its class, in words with hyphens."""
    assert type(name, (App,), {}).app_name == expected


def test_name_is_said_or_made_and_never_inherited():
    """A name may be a keyword or an attribute, and is not inherited."""

    class First(App, name="said"):
        pass

    class Second(First):
        pass

    class Third(First):
        app_name = "written"

    assert [First.app_name, Second.app_name, Third.app_name] == ["said", "second", "written"]


def test_option_is_not_said_twice():
    """An option cannot be both a keyword and an attribute of a class."""
    with pytest.raises(OptionError, match="'keep_alive' is written as a keyword"):

        class Twice(App, keep_alive=1):
            keep_alive = 2


def test_host_kwargs_are_a_dictionary():
    """host_kwargs must be a dictionary."""
    with pytest.raises(OptionError, match="host_kwargs must be a dictionary"):

        class Wrong(App):
            host_kwargs = ["keep_alive"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_multiplexin", "max_multiplexing"),
        ("keepalive", "keep_alive"),
        ("requirement", "requirements"),
    ],
)
def test_attribute_that_is_nearly_an_option_is_refused(name: str, meant: str):
    """A misspelt option is an error."""
    with pytest.raises(OptionError, match=f"'{name}' is no option. Did you mean '{meant}'"):
        type("Wrong", (App,), {name: 4})


@pytest.mark.parametrize("name", ["images", "secret", "model_name", "startup_time", "port"])
def test_other_attributes_are_the_users(name: str):
    """Attributes that merely resemble an option are accepted."""
    assert getattr(type("Right", (App,), {name: 4}), name) == 4


def test_attributes_of_applications_are_options() -> None:
    """Each documented attribute of an application is an option."""
    said = {name for name in inspect.get_annotations(App) if not name.startswith("_")}
    assert said - {"host_kwargs"} == {
        *ATTRIBUTES,
        "app_name",
        "app_auth",
        "local_python_modules",
    }
