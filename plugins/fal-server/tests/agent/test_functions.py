"""Functions: opened as a client has serialized or named them."""

from __future__ import annotations

import functools
import os.path
import pickle
import sys
from typing import Any

import cloudpickle
import pytest

from fal_server_agent.functions import (
    digest,
    load,
    open_arguments,
    open_function,
    resolve,
    wants,
)


def test_function_is_opened_by_its_entry_point_or_its_pickle():
    """An entry point counts before a serialized function, whose module is pickle by default."""
    pickled = pickle.dumps(len)
    assert open_function({}, [pickled]) is len
    assert open_function({"method": ""}, [pickled]) is len
    assert (
        open_function({"entrypoint": "os.path:join", "method": "pickle"}, [b""]) is os.path.join
    )
    add = load("cloudpickle", cloudpickle.dumps(lambda a: a + 1))
    assert add(1) == 2


@pytest.mark.parametrize(
    ("entrypoint", "error"),
    [
        ("os.path", ValueError),
        ("os.path:", ValueError),
        (":join", ValueError),
        ("none.of.these:join", ModuleNotFoundError),
        ("os:path.nothing", AttributeError),
    ],
)
def test_entry_point_that_leads_nowhere(entrypoint: str, error: type[Exception]):
    """An entry point that is malformed, or names nothing, is an error that says what."""
    assert resolve("os:path.join") is os.path.join
    with pytest.raises(error) as caught:
        resolve(entrypoint)
    assert error is not ValueError or repr(entrypoint) in str(caught.value)


def test_argument_that_comes_beside_its_function():
    """A message has one argument, whose module is pickle by default, or none."""
    assert open_arguments({}, [b"", b""]) == []
    parts = [b"", b"", pickle.dumps("given")]
    assert open_arguments({"argument": {"method": "", "part": 2}}, parts) == ["given"]


def test_setups_are_told_apart():
    """The key of a setup is that of the module and the bytes together."""
    keys = {digest("pickle", b"a"), digest("dill", b"a"), digest("pickle", b"b")}
    assert len(keys) == 3
    assert digest("pickle", b"a") in keys
    assert digest("a", b"\\0b") != digest("a\\0", b"b")


def test_keyword_that_a_function_takes():
    """
    A function takes what it names as a keyword, also through a wrapper; what cannot be
    inspected takes nothing.
    """

    def serve(first: int, /, port: int, *ports: int, exposed: int, **rest: Any) -> None: ...

    @functools.wraps(serve)
    def wrapped(*arguments: Any, **named: Any) -> None: ...

    for function in (serve, wrapped):
        assert wants(function, "port")
        assert wants(function, "exposed")
        for name in ("first", "ports", "rest", "other"):
            assert not wants(function, name), name
    assert not wants(dict, "port")
    assert not wants(7, "port")


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="Before Python 3.14 there is no such function."
)
def test_keyword_beside_an_annotation_without_a_value():
    """What a function takes is known though an annotation names what only type checkers see."""
    space: dict[str, Any] = {}
    exec(compile("def serve(port: Missing): ...", "late", "exec", dont_inherit=True), space)
    assert wants(space["serve"], "port")
