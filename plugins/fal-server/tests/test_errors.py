"""Errors: each refusal has its status codes, and each error its sentence."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Iterator

import grpc
import pytest

from fal_server import errors
from fal_server.errors import (
    DataInUse,
    DataTooNew,
    Forbidden,
    Invalid,
    KeyLost,
    Refusal,
    ServerError,
    StateBroken,
    StateLost,
    Unanswered,
    Unauthenticated,
    level_of,
)


def below(cls: type[Exception]) -> Iterator[type[Exception]]:
    """Yield the classes of the module that are derived from *cls*."""
    for each in cls.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from below(each)


def test_tree_has_every_class():
    """The tree in the docstring of the module has all classes of it."""
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    found = {each.__name__ for root in (ServerError, Refusal) for each in below(root)}
    assert drawn == found | {"ServerError"}


@pytest.mark.parametrize("cls", list(below(Refusal)), ids=lambda cls: cls.__name__)
def test_refusal_has_status_codes(cls: type[Refusal]):
    """Each refusal is an error for gRPC and for HTTP, and none is UNKNOWN."""
    assert cls.status in {each.name for each in grpc.StatusCode} - {"OK", "UNKNOWN"}
    assert 400 <= cls.http < 600


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DataInUse("/srv", 7), ("/srv", "process 7", "--data")),
        (DataInUse("/srv", None), ("another process",)),
        (DataTooNew(9, 1), ("layout 9", "knows 1")),
        (StateBroken("sqlite:///a", "no"), ("sqlite:///a", "no. Put")),
        (StateLost("sqlite:///a", "/srv"), ("sqlite:///a is empty", "run on /srv before")),
        (KeyLost("/a b/x.key", "is empty", "it ends"), ("x.key --data '/a b'", ": it ends.")),
        (Unanswered("Map"), ("does not have Map.",)),
    ],
)
def test_error_says_what_to_do(error: Exception, words: tuple[str, ...]):
    """An error names what is wrong, also after it has crossed processes."""
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert all(word in str(each) for word in words), str(each)


def test_refused_callers_are_warnings():
    """Wrong keys and missing permissions are logged as warnings, other refusals as information."""
    assert level_of(Unauthenticated("no")) == level_of(Forbidden("no")) == logging.WARNING
    assert level_of(Invalid("no")) == logging.INFO
