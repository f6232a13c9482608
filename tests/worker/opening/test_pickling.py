"""
The names of the worker that stand in pickles, which may never change.

A pickle refers to a function or class by its module and its name. Pickles are kept, as of
detached and spawned calls, and are opened by later versions.
"""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core import function
from fal_core.calls import Call
from fal_core.events import Sink
from fal_core.sealing.functions import seal_function
from fal_core_worker.opening.pickling import seal
from fal_core_worker.opening.seals import PREFIX_SIZE
from fal_core_worker.opening.unpickling import ForeignUnpickler
from fal_core_worker.running.outcomes import CallCancelled
from fal_core_worker.serving.services import StartupError
from fal_testing import InProcessHost

#: By module, names that pickles have as what is called or filled.
NAMES = {
    "fal_core_worker.opening.absent": {"make_decorator"},
    "fal_core_worker.opening.classes": {
        "fill_class",
        "find_class",
        "make_class",
        "make_model",
    },
    "fal_core_worker.opening.decorated": {
        "fill_wrapper",
        "make_cached_property",
        "make_wrapper",
    },
    "fal_core_worker.opening.exceptions": {"fill_error", "make_error"},
    "fal_core_worker.opening.function_parts": {
        "fill_function",
        "find_builtin_type",
        "import_module",
        "make_cell",
        "make_function",
    },
    "fal_core_worker.opening.portable": {
        "fill_dataclass",
        "fill_model",
        "fill_protocol",
        "make_by_statement",
        "make_function",
        "make_named_tuple",
    },
    "fal_core_worker.opening.stubs": {"BoundStub", "make_stub"},
    # Classes whose instances a function may hold or raise.
    "fal_core_worker.running.outcomes": {"CallCancelled"},
    "fal_core_worker.serving.routes": {"RouteSignature"},
    "fal_core_worker.serving.services": {"Server", "StartupError"},
}

#: The same, for values of libraries.
LIBRARY_NAMES = {
    "fal_core_worker.buffers.arrays": {"make_array"},
    "fal_core_worker.buffers.tables": {"make_pandas_array"},
    "fal_core_worker.buffers.tensors": {"fill_tensor", "make_tensor", "open_storage"},
}

#: Its functions are sealed, each with all that it refers to.
USER_MODULE = """
import dataclasses
import enum
import functools
import json
import types
from collections import namedtuple
from contextlib import contextmanager
from typing import Protocol

import pydantic

from fal_core import function
from fal_core_worker.serving.routes import RouteSignature
from fal_core_worker.serving.services import Server

Point = namedtuple("Point", "x y")

@dataclasses.dataclass
class Size:
    width: int

class HasSize(Protocol):
    size: Size

class Model(pydantic.BaseModel):
    value: int

class Color(enum.Enum):
    RED = 1

class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code

class Own(Server):
    def __call__(self, *, exposed_port=None, exposed_metrics_port=None):
        pass

class Shop:
    @functools.cached_property
    def rate(self):
        return 2

    @function("current", host="local")
    def sell(self):
        return 1

declare = function("current", host="local")

@declare
def isolated():
    return 1

@contextmanager
def opened():
    yield 1

@functools.lru_cache
def cached():
    return 1

sell = Shop().sell
refusal = Refused(1, "no")
route = RouteSignature("/")

def with_parts():
    def inner():
        return free
    free = json
    return inner, types.CodeType, type(None)

def with_closure(held):
    def inner():
        return held
    return inner

inner = with_closure(type(None))

def with_everything():
    held = (
        Color, Model, Own, Point, Shop, Size, cached, declare, inner, isolated, json, opened,
        refusal, route, sell,
    )
    return len(held)

def with_source():
    return Point, Size, HasSize, Model
"""


class Recorder(ForeignUnpickler):
    """Notes each name of the worker that a pickle refers to."""

    def __init__(self, file: io.BytesIO, found: set[tuple[str, str]]) -> None:
        super().__init__(file)
        self.found = found

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "fal_core_worker":
            self.found.add((module, name))
        return super().find_class(module, name)


def names_in(data: bytes) -> set[tuple[str, str]]:
    """Return the names of the worker in the pickles of a sealed object."""
    found: set[tuple[str, str]] = set()
    file = io.BytesIO(data)
    file.seek(PREFIX_SIZE)
    while file.tell() < len(data):
        Recorder(file, found).load()
    return found


class RecordingHost(InProcessHost):
    """Keeps the calls that it runs."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.calls: list[Call] = []

    def launch(self, call: Call, sink: Sink) -> Any:
        self.calls.append(call)
        return super().launch(call, sink)


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The user's module, which travels by value."""
    pytest.importorskip("pydantic")
    (tmp_path / "user_module.py").write_text(USER_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("user_module")
    del sys.modules["user_module"]


@pytest.mark.parametrize("module", sorted(NAMES | LIBRARY_NAMES))
def test_names_in_pickles_lead_to_the_same_objects(module: str) -> None:
    """Each name that stands in pickles is defined where the pickles say."""
    for name in (NAMES | LIBRARY_NAMES)[module]:
        found = getattr(importlib.import_module(module), name)
        assert (found.__module__, found.__qualname__) == (module, name)


def test_pickles_have_no_other_names(user_module: Any) -> None:
    """The pickle of a function refers to no names of the worker except the listed ones."""
    host = RecordingHost()
    assert function("current", host=host)(user_module.with_everything)()
    forms = [call.function for call in host.calls]
    for func in (user_module.with_parts, user_module.with_source):
        forms.append(seal_function(func, portable=True).sealed)
    found = set()
    for form in forms:
        found |= names_in(form.native.data)
        if form.portable is not None:
            found |= names_in(form.portable.data)
    size = user_module.Size
    known = seal(size(1), "", "", known={size}, by_value=lambda name: name == "user_module")
    found |= names_in(known.data)
    for error in (CallCancelled(), StartupError("no")):
        found |= names_in(seal(error, "", "").data)
    assert found == {(module, name) for module, names in NAMES.items() for name in names}


#: Seals views of memory again and again, which are in cycles with what was sealed.
PASSES_VIEWS_ON = """
import gc
from pickle import PickleBuffer
from fal_core_worker.opening.pickling import seal

class Passed:
    def __init__(self, view):
        self.view = view

    def __reduce_ex__(self, protocol):
        return Passed, (PickleBuffer(self.view),)

for _ in range(20):
    passed = Passed(memoryview(bytearray(1 << 17)))
    passed.sealed = seal(passed, "", "")
    passed.itself = passed
    assert len(passed.sealed.buffers) == 1
    del passed
    gc.collect()
"""


def test_views_that_are_passed_on_are_collected_as_garbage():
    """Python before 3.13 crashes if it collects a view of another view."""
    command = [sys.executable, "-c", PASSES_VIEWS_ON]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
