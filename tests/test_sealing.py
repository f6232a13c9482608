"""
Sealing and opening, between this process and real workers.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib.util
import math
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import attrs
import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core import WorkerLost, errors, find_missing_dependencies, function
from fal_core.calls import Call
from fal_core.environments import CurrentEnvironment, Environment
from fal_core.errors import FalMissingDependencyError, FalSerializationError
from fal_core.hooks import API_VERSION, hookimpl
from fal_core.hosts import Capabilities
from fal_core.plugins import registered
from fal_core.sealing import functions as sealing
from fal_core.sealing.functions import (
    open_error,
    open_value,
    seal_arguments,
    seal_function,
)
from fal_core.testing.hosts import InProcessHost
from fal_core_worker.opening.exceptions import RemoteTraceback
from fal_core_worker.opening.functions import open_function
from fal_core_worker.opening.pickling import BUFFER_SIZE
from fal_core_worker.opening.values import open_arguments, seal_error, seal_value

ROOT = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location(
    "sealing_home", ROOT / "tests" / "sealing" / "home.py"
)
assert _spec is not None
assert _spec.loader is not None
home = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(home)


@pytest.fixture(scope="module")
def worker() -> Iterator[Any]:
    """
    A worker of this Python that has what this one has, and none of its own state.
    """
    paths = [str(ROOT / "src"), *(path for path in sys.path if "site-packages" in path)]
    process = home.Worker(sys.executable, paths)
    yield process
    assert process.close() == 0


def echo(value: Any) -> Any:
    return value


# -- Values ------------------------------------------------------------------------

plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each) | st.tuples(each, each),
    max_leaves=20,
)


@given(plain_values)
def test_plain_values_round_trip(value: Any) -> None:
    """
    Values of built-in types come back equal, and are not said to hold code.
    """
    seal = seal_function(echo)
    sealed = seal_arguments(((value,), {}), seal)

    (opened,), _ = open_arguments(sealed, echo)
    assert opened == value
    assert not sealed.contains_code
    assert open_value(seal_value(value, echo), seal) == value


class Large:
    """
    Holds a buffer, as an array does.
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: int) -> Any:
        return Large, (pickle.PickleBuffer(self.data),)


@pytest.mark.parametrize("size", [BUFFER_SIZE - 1, BUFFER_SIZE])
def test_large_buffers_travel_beside_the_pickle(size: int) -> None:
    """
    From a size on, buffers are not copied into the pickle, nor out of it.
    """
    data = bytearray(size)
    seal = seal_function(echo)
    sealed = seal_arguments(((Large(data),), {}), seal)

    assert len(sealed.buffers) == (size >= BUFFER_SIZE)
    data[0] = 7
    (opened,), _ = open_arguments(sealed, echo)
    assert opened.data[0] == (7 if sealed.buffers else 0)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (threading.Lock(), "cannot travel because of args[0]: cannot pickle '_thread.lock'"),
        ({"a": [1, {"b": threading.Lock()}]}, "because of args[0]['a'][1]['b']: cannot pickle"),
        ([sys.__stdin__], "'_io.TextIOWrapper'"),
    ],
)
def test_argument_that_cannot_be_pickled(value: Any, where: str) -> None:
    """
    The error names the function, the type, and where in the argument it is.
    """
    with pytest.raises(FalSerializationError) as caught:
        seal_arguments(((value,), {}), seal_function(echo))

    assert str(caught.value).startswith("An argument of 'echo' cannot travel")
    assert where in str(caught.value)
    assert str(caught.value).endswith("Pass what it is made of, and make it in the function.")


def test_result_that_cannot_be_pickled(worker: Any) -> None:
    """
    It is fal-core's own error to the caller, and the worker goes on.
    """

    def make(good: bool) -> Any:
        return 1 if good else {"lock": threading.Lock()}

    bad, good = worker(make, (False,), (True,))

    assert type(bad) is FalSerializationError
    assert "result of" in str(bad)
    assert "['lock']" in str(bad)
    assert good == 1


# -- Classes -----------------------------------------------------------------------


class Counter:
    total = 0

    def __init__(self, start: int) -> None:
        self.value = start


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@attrs.frozen
class Size:
    width: int


class Color(enum.Enum):
    RED = 1
    CRIMSON = 1
    BLUE = 2


def make_each() -> Any:
    return Counter(1), Point(1), Size(2), Color.BLUE, Color.CRIMSON


def test_classes_are_the_same_at_home(worker: Any) -> None:
    """
    What comes back is of the classes that went, and enum members are themselves.
    """
    ((counter, point, size, blue, crimson),) = worker(make_each, ())

    assert type(counter) is Counter
    assert point == Point(1)
    assert size == Size(2)
    assert blue is Color.BLUE
    assert crimson is Color.RED


def test_opening_changes_no_class(worker: Any) -> None:
    """
    A class that was changed at home after it was sealed stays changed.
    """
    seal = seal_function(make_each)
    Counter.total = 5
    try:
        worker(make_each, (), seal=seal)
        assert Counter.total == 5
    finally:
        Counter.total = 0


def test_class_that_the_function_does_not_name(worker: Any) -> None:
    """
    A class that travels with an argument alone comes back as itself, unchanged.
    """

    class Local:
        tag = "sealed"

        def __init__(self, value: int) -> None:
            self.value = value

    seal = seal_function(echo)
    (first,) = worker(echo, (Local(3),), seal=seal)
    Local.tag = "changed"
    (second,) = worker(echo, (Local(4),), seal=seal)

    assert type(first) is type(second) is Local
    assert Local.tag == "changed"
    assert (first.value, second.value) == (3, 4)


def test_class_made_in_the_worker_is_one_class(worker: Any) -> None:
    """
    A class that the worker made is made here once, and kept as it is then.
    """

    def make() -> Any:
        kinds = globals().setdefault("kinds", [])
        if not kinds:
            kinds.append(type("Born", (), {"n": 0}))
        kinds[0].n += 1
        return kinds[0]()

    first, second = worker(make, (), ())

    assert type(first) is type(second)
    assert first.n == 1


def test_classes_travel_once() -> None:
    """
    Arguments refer to classes that went with the function, and hold no code.
    """
    sealed = seal_arguments(((Point(1),), {}), seal_function(make_each))

    assert not sealed.contains_code
    assert seal_arguments(((Point(1),), {}), seal_function(echo)).contains_code


def typed(value: Point | None) -> Size:
    return Size(2)


def test_classes_of_annotations_travel_with_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A class that only the text of an annotation names travels once too.
    """
    seal = seal_function(typed)

    assert not seal_arguments(((Point(1),), {}), seal).contains_code
    monkeypatch.setitem(globals(), "Point", Counter)
    assert not seal.is_fresh()


class Unsealable:
    lock = threading.Lock()


def names_unsealable(value: Unsealable | None) -> int:
    return 3


def test_class_of_an_annotation_that_cannot_travel(worker: Any) -> None:
    """
    It does not keep the function from travelling.
    """
    assert worker(names_unsealable, (None,)) == [3]


def test_other_users_of_cloudpickle_see_nothing() -> None:
    """
    Sealing registers no module with cloudpickle.
    """
    before = cloudpickle.list_registry_pickle_by_value()
    assert make_each.__module__ not in before

    seal_function(make_each)

    assert cloudpickle.list_registry_pickle_by_value() == before


# -- Functions ---------------------------------------------------------------------


class Lazy:
    @functools.cached_property
    def value(self) -> list[int]:
        return [3]


@functools.cache
def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@functools.singledispatch
def kind_of(value: object) -> str:
    return "other"


@kind_of.register
def _(value: int) -> str:
    return "integer"


SHAPES: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = [
    (fibonacci, (20,), 6765),
    (kind_of, (1,), "integer"),
    (lambda: Lazy().value, (), [3]),
    (math.sqrt, (4.0,), 2.0),
    (functools.partial(pow, 2), (5,), 32),
    (Point(3).__eq__, (Point(3),), True),
]


@pytest.mark.parametrize(("function", "arguments", "expected"), SHAPES)
def test_wrapped_functions(
    worker: Any, function: Any, arguments: tuple[Any, ...], expected: Any
) -> None:
    """
    What the standard library makes of a function travels too.
    """
    assert worker(function, arguments) == [expected]


def test_pydantic_models(worker: Any) -> None:
    """
    A pydantic model travels with its validators.
    """
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):  # type: ignore[misc, name-defined]  # imported at run time
        x: int = pydantic.Field(gt=0)

    def grow(model: Any) -> Any:
        return Model(x=model.x + 1)

    (grown,) = worker(grow, (Model(x=2),))
    assert type(grown) is Model
    assert grown.x == 3


def test_function_that_cannot_be_pickled() -> None:
    """
    The error names what the function captured.
    """
    lock = threading.Lock()

    with pytest.raises(FalSerializationError, match="an enclosing function: cannot pickle"):
        seal_function(lambda: lock)


def test_stub_reducers(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is registered for a type decides how its instances travel.
    """

    class Handle:
        pass

    handle = Handle()
    monkeypatch.setitem(sealing.stub_reducers, Handle, lambda handle: (str, ("a stub",)))

    assert worker(lambda: handle, ()) == ["a stub"]


def _world() -> tuple[dict[str, Any], Any]:
    text = "scale = 2\ndef helper(x): return x * scale\ndef f(x, y=1): return helper(x) + y\n"
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(text, space)
    return space, space["f"]


@pytest.mark.parametrize(
    "change",
    [
        lambda space, f: space.update(scale=3),
        lambda space, f: space.update(helper=lambda x: x),
        lambda space, f: setattr(f, "__defaults__", (5,)),
        lambda space, f: setattr(f, "__code__", (lambda x, y=1: 0).__code__),
    ],
)
def test_seal_is_fresh_until_a_capture_changes(change: Any) -> None:
    """
    A captured global, at any depth, a default or the code makes a seal stale.
    """
    space, f = _world()
    seal = seal_function(f)
    space["unrelated"] = 1
    assert seal.is_fresh()

    change(space, f)
    assert not seal.is_fresh()


def test_seal_sees_cells_and_hidden_builtins() -> None:
    """
    A cell that is bound again makes a seal stale, and so does a hidden builtin.
    """
    value = 1

    def f() -> Any:
        return value, len("")

    seal = seal_function(f)
    value = 2
    assert not seal.is_fresh()
    seal = seal_function(f)
    assert seal.is_fresh()
    f.__globals__["len"] = max
    try:
        assert not seal.is_fresh()
    finally:
        del f.__globals__["len"]


# -- Exceptions --------------------------------------------------------------------


class Odd(LookupError):
    """
    Takes other arguments than it passes on.
    """

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Doubling(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text * 2)


@attrs.define
class Slotted(Exception):
    code: int
    text: str = "t"


class Holding(Exception):
    def __init__(self, held: Any) -> None:
        super().__init__("held", held)
        self.held = held


def fail(which: str) -> None:
    if which == "odd":
        raise Odd(code=4)
    if which == "doubling":
        raise Doubling("ab")
    if which == "slotted":
        raise Slotted(3)
    if which == "frozen":
        raise Frozen(9)
    if which == "holding":
        raise Holding(threading.Lock())
    if which == "chained":
        try:
            {}["k"]
        except KeyError as error:
            raise Odd(code=5) from error
    if which == "in handler":
        try:
            {}["k"]
        except KeyError:
            raise Odd(code=5)  # noqa: B904  # chained by itself
    if which == "noted":
        error = ValueError("v")
        error.__dict__["__notes__"] = ["a note"]
        raise error
    if which == "unicode":
        b"\xff".decode()
    if which == "file":
        open("/nonexistent/file")  # noqa: SIM115  # it is not there
    if which == "interrupt":
        raise KeyboardInterrupt
    if which == "exit":
        raise SystemExit(3)
    if which == "import":
        import nonexistent_module  # noqa: F401  # it is not there


@attrs.frozen
class Frozen(Exception):
    code: int


EXPECTED: dict[str, tuple[type[BaseException], str, dict[str, Any]]] = {
    "odd": (Odd, "code 4", {"code": 4}),
    "doubling": (Doubling, "abab", {}),
    "slotted": (Slotted, "(3, 't')", {"code": 3, "text": "t"}),
    "frozen": (Frozen, "9", {"code": 9}),
    "noted": (ValueError, "v", {"__notes__": ["a note"]}),
    "unicode": (UnicodeDecodeError, "'utf-8' codec can't decode", {"start": 0}),
    "file": (FileNotFoundError, "/nonexistent/file", {"errno": 2}),
    "interrupt": (KeyboardInterrupt, "", {}),
    "exit": (SystemExit, "3", {"code": 3}),
    "import": (ModuleNotFoundError, "nonexistent_module", {"name": "nonexistent_module"}),
}


@pytest.mark.parametrize("which", EXPECTED)
def test_exception_arrives_as_itself(worker: Any, which: str) -> None:
    """
    Class, message and attributes are those raised, and the traceback is the cause.
    """
    kind, text, attributes = EXPECTED[which]
    (error,) = worker(fail, (which,))

    assert type(error) is kind
    assert text in str(error)
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in fail" in str(error.__cause__)
    assert "raise" in str(error.__cause__) or which in ("unicode", "file", "import")


@pytest.mark.parametrize("which", ["chained", "in handler"])
def test_causes_stay_visible(worker: Any, which: str) -> None:
    """
    The exception's own cause or context stands behind the remote traceback.
    """
    (error,) = worker(fail, (which,))

    behind = error.__cause__.__cause__ or error.__cause__.__context__
    assert type(behind) is KeyError
    assert "in fail" in str(behind.__cause__)


def test_exception_that_holds_what_cannot_travel(worker: Any) -> None:
    """
    It is of its own class, with texts in place of what cannot travel.
    """
    (error,) = worker(fail, ("holding",))

    assert type(error) is Holding
    assert "lock" in error.held
    assert error.args[0] == "held"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="There are no groups before 3.11.")
def test_group_of_exceptions(worker: Any) -> None:
    """
    A group comes with its members as themselves, each with its traceback.
    """

    def fail_together() -> None:
        members = []
        for which in ("odd", "holding"):
            try:
                fail(which)
            except Exception as error:
                members.append(error)
        raise ExceptionGroup("both", members)  # noqa: F821  # from 3.11 on

    (group,) = worker(fail_together, ())

    assert type(group).__name__ == "ExceptionGroup"
    assert [type(member) for member in group.exceptions] == [Odd, Holding]
    assert all("in fail" in str(member.__cause__) for member in group.exceptions)
    assert "in fail_together" in str(group.__cause__)


@pytest.fixture
def bare_worker(tmp_path: Path) -> Iterator[Any]:
    """
    A worker that has no fal-core, and nothing but what comes with a worker.
    """
    package = tmp_path / "only"
    package.mkdir()
    (package / "fal_core_worker").symlink_to(ROOT / "src" / "fal_core_worker")
    (package / "cloudpickle").symlink_to(Path(cloudpickle.__file__).parent)
    process = home.Worker(sys.executable, [str(package)], ("-I", "-S"))
    yield process
    process.close()


def test_module_that_declares_isolated_functions(
    bare_worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It is imported in a worker without fal-core, and its functions run there.
    """
    (tmp_path / "declares.py").write_text(
        "from fal_core import FalCoreError, Options, cached, function\n"
        "class Own(FalCoreError): pass\n"
        "@function('virtualenv', requirements=['numpy'])\n"
        "def inner(x): return x + 1\n"
        "@cached\n"
        "def kept(): return 5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def use() -> Any:
        import declares

        return declares.inner.run_local(1), declares.kept()

    def call() -> Any:
        import declares

        return declares.inner(1)

    assert bare_worker(use, ()) == [(2, 5)]
    (error,) = bare_worker(call, ())
    assert isinstance(error, RuntimeError)
    assert "'inner' was declared in a worker" in str(error)


shared = function("current", host=InProcessHost())


def name_what_stays(way: str) -> Any:
    if way == "decorator":
        return shared(len)("four")
    if way == "declaration":
        return function("current")(len)("four")
    if way == "other":
        return find_missing_dependencies(len, {})
    try:
        return "right"
    except (WorkerLost, errors.FalCoreError):
        return "wrong"


def test_code_that_names_what_stays_at_home(bare_worker: Any) -> None:
    """
    It travels without the host and what that holds, and is told of it where it uses it.
    """
    ways = ("nothing", "decorator", "declaration", "other")
    for portable in (False, True):
        seal = seal_function(name_what_stays, portable=portable)
        # Neither the host nor this test's module with all it imports goes along.
        assert len(seal.sealed.native.data) < 4000
        assert seal.sealed.refusal == ""
        calls = [(way,) for way in ways]
        right, *told = bare_worker(None, *calls, native=not portable, seal=seal)
        assert right == "right"
        assert [type(error) for error in told] == [RuntimeError] * 3
        assert "'len' was declared in a worker, which has no home" in str(told[0])
        assert "'len' was declared in a worker, which has no home" in str(told[1])
        assert "fal_core.find_missing_dependencies is not there in a worker" in str(told[2])


class Guarded:
    lock = threading.Lock()


held = Guarded()


def test_capture_that_cannot_travel_is_the_one_that_was_written() -> None:
    """
    It is blamed by its name where it was captured, whatever it holds in turn.
    """

    def use() -> Any:
        return held

    with pytest.raises(FalSerializationError) as caught:
        seal_function(use)
    assert "because of global 'held': cannot pickle" in str(caught.value)
    assert str(caught.value).endswith("in the function, or in its setup_function.")


def test_class_that_is_not_here(worker: Any) -> None:
    """
    A stand-in has the name and bases of the class, so the same handlers catch it.
    """
    Path(worker.folder, "only_there.py").write_text(
        "class Base(LookupError): pass\n"
        "class Gone(Base):\n"
        "    def __init__(self, *, code):\n"
        "        self.code = code\n"
        "    def __str__(self): return f'gone {self.code}'\n"
    )

    def fail_there() -> None:
        import only_there

        raise only_there.Gone(code=7)

    first, second = worker(fail_there, (), ())

    assert isinstance(first, LookupError)
    assert [base.__name__ for base in type(first).__mro__[:3]] == [
        "Gone",
        "Base",
        "LookupError",
    ]
    assert type(first).__module__ == "only_there"
    assert type(first) is type(second)
    assert str(first) == "gone 7"
    assert first.code == 7


def test_sealing_an_error_never_fails() -> None:
    """
    An exception whose text raises, and that holds itself, is told as well as it can be.
    """

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

        def __reduce__(self) -> Any:
            raise RuntimeError

    error = Broken()
    error.__context__ = error.__cause__ = Broken()
    seal = seal_function(echo)

    opened = open_error(seal_error(error, echo), seal)
    assert type(opened).__name__ == "Broken"
    assert isinstance(opened.__cause__, RemoteTraceback)


def test_long_chains_of_exceptions_are_cut() -> None:
    """
    A chain of thousands of exceptions is told in part.
    """
    error = first = ValueError("last")
    for _ in range(5000):
        first.__cause__ = ValueError("earlier")
        first = first.__cause__

    assert str(open_error(seal_error(error, None), seal_function(echo))) == "last"


# -- What is missing ---------------------------------------------------------------


def test_missing_module_is_named_before_the_call(worker: Any) -> None:
    """
    A module that the environment lacks is named, and the name it has in the function.
    """

    def use() -> Any:
        import numpy_that_is_missing as np

        return np

    (error,) = worker(use, ())

    assert type(error) is FalMissingDependencyError
    assert "'numpy_that_is_missing' (as np)" in str(error)
    assert "requirements" in str(error)


def test_code_of_another_python_is_refused_unopened() -> None:
    """
    Neither a function nor a value that holds code is opened under another minor.
    """
    seal = seal_function(echo)
    value = seal_arguments((lambda: 1), seal)
    other = bytes((value.data[0], value.data[1], 3, 99)) + b"not a pickle"

    with pytest.raises(FalSerializationError, match=r"holds code of Python 3\.99") as caught:
        open_value(value._replace(data=other), seal)
    assert f"Python {sys.version_info[0]}.{sys.version_info[1]}" in str(caught.value)
    native = seal.sealed.native
    foreign = native._replace(data=native.data[:2] + bytes((3, 99)) + native.data[4:])
    with pytest.raises(Exception, match=r"function 'echo'.* It has no source\."):
        open_function(foreign, None, "It has no source.")


def test_value_that_does_not_open() -> None:
    """
    The error names both Pythons.
    """
    seal = seal_function(echo)
    good = seal_arguments({1, 2}, seal)

    with pytest.raises(
        FalSerializationError, match="cannot open the result of 'echo', sealed by"
    ):
        open_value(good._replace(data=good.data[:-4]), seal)


@attrs.define(eq=False, slots=False)
class ElsewhereHost(InProcessHost):
    """
    Keeps the calls it is given, and cannot tell which Python runs them.
    """

    name: ClassVar[str] = "elsewhere"
    capabilities: ClassVar[Capabilities] = attrs.evolve(
        InProcessHost.capabilities, kinds=None, same_python=False
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.calls: list[Call] = []

    def launch(self, call: Call, sink: Any) -> Any:
        self.calls.append(call)
        return super().launch(call, sink)


@attrs.define(eq=False, slots=False)
class HereHost(ElsewhereHost):
    """
    Runs the Python of this process.
    """

    name: ClassVar[str] = "here"
    capabilities: ClassVar[Capabilities] = InProcessHost.capabilities


@pytest.mark.parametrize(("cls", "travels"), [(ElsewhereHost, True), (HereHost, False)])
def test_functions_travel_as_source_where_the_python_is_not_known(
    cls: type[ElsewhereHost], travels: bool
) -> None:
    """
    A host says whether its Python is this one; else a function also goes as source.
    """
    host = cls()
    assert function("current", host=host)(echo)(4) == 4
    assert [call.function.portable is not None for call in host.calls] == [travels]
    host.close()


@attrs.frozen(kw_only=True)
class OtherPython(CurrentEnvironment):
    """
    Has a Python of its own.
    """

    kind: ClassVar[str] = "other-python"

    python_version: str | None = None


class OtherPythons:
    """
    A plugin that registers the kind.
    """

    fal_core_api = API_VERSION

    @hookimpl
    def fal_register_environments(self) -> Iterable[type[Environment]]:
        return [OtherPython]


def test_function_without_source_is_refused_for_another_python_at_once() -> None:
    """
    What another Python could not open is refused before its environment is built.
    """
    made: dict[str, Any] = {"__name__": "made"}
    exec("def give() -> int:\n    return 1\n", made)
    host = ElsewhereHost()
    with registered(OtherPythons()):
        isolated = function("other-python", host=host, python_version="3.98")(made["give"])
        with pytest.raises(
            FalSerializationError, match=r"'give' cannot travel to Python 3\.98 .* no source"
        ):
            isolated()
    assert host.calls == []
    host.close()
