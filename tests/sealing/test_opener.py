"""Opening: results of functions, as their callers see them."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from fal_core.errors import FalMissingDependencyError, FalSerializationError
from fal_core.sealing.arguments import seal_arguments
from fal_core.sealing.functions import seal_function
from fal_core.sealing.opener import Opener
from fal_core_worker.opening.functions import open_function
from fal_core_worker.opening.seals import Sealed


def echo(value: Any) -> Any:
    return value


def test_result_that_cannot_be_pickled(worker: Any) -> None:
    """A result that cannot be pickled raises fal-core's own error, and the worker goes on."""

    def make(good: bool) -> Any:
        return 1 if good else {"lock": threading.current_thread()}

    bad, good = worker(make, (False,), (True,))

    assert type(bad) is FalSerializationError
    assert "result of" in str(bad)
    assert "['lock']" in str(bad)
    assert good == 1


def test_missing_module_is_named_before_the_call(worker: Any) -> None:
    """A module that the environment lacks is named, and the name it has in the function."""

    def use() -> Any:
        import numpy_that_is_missing as np

        return np

    (error,) = worker(use, ())

    assert type(error) is FalMissingDependencyError
    assert "'numpy_that_is_missing' (as np)" in str(error)
    assert "requirements" in str(error)


def test_code_of_another_python_is_refused_unopened() -> None:
    """Neither a function nor a value that holds code is opened under another minor."""
    seal = seal_function(echo)
    value = seal_arguments((lambda: 1), seal)
    other = bytes((value.data[0], value.data[1], 3, 99)) + b"not a pickle"

    with pytest.raises(FalSerializationError, match=r"holds code of Python 3\.99") as caught:
        Opener(name="echo").open_value(value._replace(data=other))
    assert f"Python {sys.version_info[0]}.{sys.version_info[1]}" in str(caught.value)
    native = seal.sealed.native
    foreign = Sealed(native.data[:2] + bytes((3, 99)) + native.data[4:])
    with pytest.raises(Exception, match=r"function 'echo'.* It has no source\."):
        open_function(foreign, None, "It has no source.")


def test_value_that_does_not_open() -> None:
    """The error names the function and what is wrong."""
    seal = seal_function(echo)
    good = seal_arguments({1, 2}, seal)

    with pytest.raises(FalSerializationError, match="cannot open the result of 'echo': "):
        Opener(name="echo").open_value(good._replace(data=good.data[:-4]))
