"""
The vocabulary: every option goes where it belongs, unchanged, or ends in an error.
"""

from __future__ import annotations

import copy
import enum
import functools
import gc
import json
import pickle
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core.declaring import vocabulary
from fal_core.declaring.vocabulary import (
    parse_options,
    restore,
    restore_environment,
    structure_environment,
    structure_gateway,
    structure_host_options,
    unstructure,
    unstructure_environment,
    unusable_options,
)
from fal_core.decorators import function
from fal_core.environments import CurrentEnvironment, Environment
from fal_core.errors import (
    OptionError,
    OptionTypeError,
    OptionValueError,
    UnknownNameError,
    UnknownOptionError,
    WrongKindError,
)
from fal_core.functions import IsolatedFunction
from fal_core.hooks import hookimpl
from fal_core.hosts import Capabilities, Host
from fal_core.options import Gateway, HostOptions, Options, merge_basic_config
from fal_core.plugins import registered
from fal_core.testing.processes import wait_until
from fal_core.validators import at_least
from fal_core_worker import current

Written = list[str] | list[list[str]]


def as_layers(written: Any) -> tuple[tuple[str, ...], ...]:
    """
    Return requirements as layers, however they were written.
    """
    if all(isinstance(entry, str) for entry in written):
        return (tuple(written),) if written else ()
    return tuple(map(tuple, written))


@attrs.frozen(kw_only=True)
class Layered(CurrentEnvironment):
    """
    An environment whose requirements are normalised by the converter of their field.
    """

    kind: ClassVar[str] = "layered"

    requirements: Written = attrs.field(
        default=(),  # type: ignore[assignment]  # converted
        converter=as_layers,
    )
    python_version: str | None = None
    force: bool = False
    variables: Mapping[str, str] = attrs.field(factory=dict)
    project: Path | None = None
    limit: float = attrs.field(default=1.0)

    @limit.validator
    def _check_limit(self, _: object, value: float) -> None:
        if value < 0:
            raise ValueError(f"limit is {value:g}, and cannot be negative")


@attrs.frozen(kw_only=True)
class Boxed(CurrentEnvironment):
    """
    What stands in for kind ``container``: its image has no default.
    """

    kind: ClassVar[str] = "container"

    image: Any
    requirements: tuple[str, ...] = ()
    force: bool = False


@attrs.frozen(kw_only=True)
class QueueOptions(HostOptions):
    """
    The options of a host, one of its own among them.
    """

    queue: str | None = None
    queue_length: int | None = attrs.field(default=None, validator=at_least(1))


class Place(Host[..., Any]):
    """
    What two hosts have in common that run nothing here.
    """

    def launch(self, call: Any, sink: Any) -> Any:
        raise AssertionError(call, sink)


@attrs.define(eq=False, slots=False)
class Queued(Place):
    name: ClassVar[str] = "queued"
    options: ClassVar[type[HostOptions]] = QueueOptions
    capabilities: ClassVar[Capabilities] = Capabilities(options=frozenset({"keep_alive"}))


@attrs.define(eq=False, slots=False)
class Plain(Place):
    name: ClassVar[str] = "plain"


@attrs.define(eq=False, slots=False)
class Around(Place):
    """
    A host around a host: its options are those of the inner one.
    """

    name: ClassVar[str] = "around"

    inner: Host[..., Any] = attrs.field(factory=Queued)

    @property
    def options(self) -> type[HostOptions]:  # type: ignore[override]  # the host's own
        return self.inner.options


@pytest.fixture(scope="module", autouse=True)
def _plugin() -> Iterator[None]:
    made: Any = ModuleType("plugin")
    made.fal_core_api = 1
    hosts: Iterable[type[Any]] = [Queued, Plain, Around]
    environments: Iterable[type[Environment]] = [Layered, Boxed]
    made.fal_register_hosts = hookimpl(lambda: hosts)
    made.fal_register_environments = hookimpl(lambda: environments)
    with registered(made):
        yield


def layered(**config: Any) -> Options:
    """
    Parse *config* for kind ``layered``.
    """
    return parse_options({"kind": "layered", **config})


# -- Sorting -----------------------------------------------------------------------


def test_options_are_sorted_and_kept_as_written() -> None:
    """
    Each option goes to its mapping, the very object that the user wrote.
    """
    requirements, machines = ["numpy"], ["GPU-A", "GPU-B"]
    options = layered(
        requirements=requirements,
        machine_type=machines,
        queue="fast",
        serve=True,
        _scheduler="nomad",
        setup_function=None,
    )
    assert options == Options(
        host={
            "machine_type": machines,
            "queue": "fast",
            "_scheduler": "nomad",
            "setup_function": None,
        },
        environment={"kind": "layered", "requirements": requirements},
        gateway={"serve": True},
    )
    assert options.environment["requirements"] is requirements
    assert options.host["machine_type"] is machines


def test_host_parses_through_the_vocabulary() -> None:
    """
    The documented ``Host.parse_options`` knows the options of every plugin.
    """
    options = Plain.parse_options(kind="layered", queue="fast", keep_alive=3)
    assert options.host == {"queue": "fast", "keep_alive": 3}


def test_kind_is_virtualenv_where_nothing_says_otherwise() -> None:
    """
    Without a kind the kind is ``virtualenv``, and nothing is added to what was written.
    """
    assert vocabulary.kind_of({}) == "virtualenv"
    assert vocabulary.kind_of({"kind": None}) == "virtualenv"


def test_image_stands_for_kind_container() -> None:
    """
    ``image=`` implies the kind, unless a kind is given, and is kept as it is.
    """
    image = object()
    options = parse_options({"image": image})
    assert options.environment == {"image": image}
    assert structure_environment(options) == Boxed(image=image)
    with pytest.raises(WrongKindError, match="belongs to kind 'container', not to 'layered'"):
        layered(image=image)


def test_force_env_build_is_force() -> None:
    """
    The SDK's spelling is understood; both at once is an error.
    """
    assert layered(force_env_build=True).environment == {"kind": "layered", "force": True}
    with pytest.raises(OptionError, match="one and the same"):
        layered(force_env_build=True, force=True)
    with pytest.raises(OptionError, match="one and the same"):
        layered(force=True, force_env_build=False)


# -- Wrong declarations ------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        (
            {"requirments": ["a"]},
            UnknownOptionError,
            "Unknown option 'requirments'. Did you mean 'requirements'?",
        ),
        ({"machinetype": "a"}, UnknownOptionError, "Did you mean 'machine_type'?"),
        ({"queu": "a"}, UnknownOptionError, "Did you mean 'queue'?"),
        ({"exposed_prt": 1}, UnknownOptionError, "Did you mean 'exposed_port'?"),
        ({"force_env_buld": 1}, UnknownOptionError, "Did you mean 'force_env_build'?"),
        ({"xyzzy": 1}, UnknownOptionError, "fal-core hosts describe"),
        (
            {"packages": ["a"]},
            WrongKindError,
            "Option 'packages' belongs to kind 'conda', not to 'layered'. "
            "Options of 'layered': force, limit, project, python_version, requirements, "
            "variables.",
        ),
        ({"resolver": "uv"}, WrongKindError, "kind 'virtualenv'"),
        ({"kind": "current", "requirements": []}, WrongKindError, "'layered'"),
        (
            {"requirements": "numpy"},
            OptionTypeError,
            "'requirements' must be a list of strings",
        ),
        (
            {"requirements": ["a", "b", 3]},
            OptionTypeError,
            "'requirements[2]' must be a string",
        ),
        ({"requirements": [["a"], [3]]}, OptionTypeError, "'requirements[1][0]'"),
        ({"force": "no"}, OptionTypeError, "'force' must be True or False, not 'no' (str)"),
        ({"force_env_build": 1}, OptionTypeError, "'force' must be True or False"),
        ({"variables": {"A": 1}}, OptionTypeError, "\"variables['A']\" must be a string"),
        ({"limit": -1}, OptionError, "kind 'layered' are refused: limit is -1"),
        ({"keep_alive": "10"}, OptionTypeError, "'keep_alive' must be a number or None"),
        ({"max_concurrency": 1.5}, OptionTypeError, "'max_concurrency' must be an integer"),
        ({"private_logs": 1}, OptionTypeError, "'private_logs' must be True, False or None"),
        ({"regions": "us"}, OptionTypeError, "'regions' must be a list of strings"),
        ({"machine_type": ["a", 1]}, OptionTypeError, "'machine_type[1]' must be a string"),
        ({"setup_function": 3}, OptionTypeError, "'setup_function' must be a function"),
        ({"queue": 3}, OptionTypeError, "'queue' must be a string or None"),
        ({"serve": 1}, OptionTypeError, "'serve' must be True or False"),
        ({"exposed_port": "80"}, OptionTypeError, "'exposed_port' must be an integer"),
        ({"kind": 3}, OptionTypeError, "'kind' must be a string, not 3 (int)"),
        ({"kind": "conda"}, UnknownNameError, "No kind of environment is called 'conda'."),
        ({"kind": "layerd"}, UnknownNameError, "Did you mean 'layered'?"),
        ({"kind": "container"}, OptionError, "'image' is missing from kind 'container'"),
    ],
)
def test_wrong_declaration_fails_where_it_is_written(
    config: dict[str, Any], error: type[OptionError], words: str
) -> None:
    """
    Whatever can be known at the declaration is an error there, and says what was meant.
    """
    with pytest.raises(error) as caught:
        parse_options({"kind": "layered", **config})
    assert type(caught.value) is error
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("option", "refused", "least", "words"),
    [
        ("num_gpus", -1, 0, "at least 0"),
        ("keep_alive", -5, 0, "at least 0"),
        ("min_concurrency", -1, 0, "at least 0"),
        ("max_concurrency", 0, 1, "at least 1"),
        ("concurrency_buffer", -1, 0, "at least 0"),
        ("concurrency_buffer_perc", -1, 0, "at least 0"),
        ("max_multiplexing", 0, 1, "at least 1"),
        ("scaling_delay", -0.5, 0, "at least 0"),
        ("request_timeout", 0, 0.1, "more than 0"),
        ("request_start_timeout", -1, 0, "at least 0"),
        ("startup_timeout", 0, 0.1, "more than 0"),
        ("termination_grace_period_seconds", -1, 0, "at least 0"),
        ("metrics_port", 65536, 65535, "from 0 to 65535"),
        ("exposed_port", -1, 0, "from 0 to 65535"),
        ("exposed_port", 65536, 65535, "from 0 to 65535"),
        ("queue_length", 0, 1, "at least 1"),
    ],
)
def test_numbers_have_bounds(option: str, refused: float, least: float, words: str) -> None:
    """
    A number that makes no sense is refused where it is written; the last that does is not.

    A plugin's option has its bounds as the core's have theirs.
    """
    declare = function("current", host=Plain(), **{option: least})
    isolated = declare(answer)
    with pytest.raises(OptionValueError) as declared:
        function("current", host=Plain(), **{option: refused})
    with pytest.raises(OptionValueError) as moved:
        isolated.on(**{option: refused})
    assert str(declared.value) == f"Option {option!r} must be {words}, not {refused}."
    assert str(moved.value) == str(declared.value)


def test_bounds_of_a_range_go_together() -> None:
    """
    A most that is less than the least is refused, wherever the two come together.
    """
    told = "Option 'max_concurrency' must be at least 3, which option 'min_concurrency'"
    with pytest.raises(OptionValueError, match=f"{told} asks for, not 1."):
        function("current", host=Plain(), min_concurrency=3, max_concurrency=1)
    isolated = function("current", host=Plain(), min_concurrency=3)(answer)
    with pytest.raises(OptionValueError, match=told):
        isolated.on(max_concurrency=2)
    assert isolated.on(max_concurrency=3).options.host["max_concurrency"] == 3


def test_named_module_is_looked_for_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A module that is named and does not exist is an error of the declaration; a worker
    that imports one has not what the declaration is for.
    """
    declare = functools.partial(function, "current", host=Plain())
    # A call that another test has left on a thread makes a worker of this process.
    assert wait_until(lambda: current.runtime is None, 60)
    with pytest.raises(OptionError, match="'local_python_modules' names 'nomod'"):
        declare(local_python_modules=["json", "nomod"])
    with pytest.raises(OptionTypeError, match="local_python_modules"):
        declare(local_python_modules="json")
    monkeypatch.setattr(current, "runtime", object())
    declare(local_python_modules=["json", "nomod"])


def test_isolated_functions_are_made_as_documented() -> None:
    """
    The host, the function and its options are given; the executor is there all the same.
    """
    with pytest.raises(TypeError, match="options"):
        IsolatedFunction(Plain(), answer)  # type: ignore[call-arg]  # wrong on purpose
    isolated = IsolatedFunction(Plain(), answer, Options(environment={"kind": "current"}))
    assert isinstance(isolated.executor, ThreadPoolExecutor)
    assert isolated.executor is isolated.executor
    isolated.executor.shutdown()


def answer() -> int:
    """
    Return a number; it is not run.
    """
    return 42


def test_what_is_no_number_at_all_is_out_of_bounds() -> None:
    """
    A float that compares with nothing is refused as well.
    """
    with pytest.raises(OptionValueError, match="at least 0, not nan"):
        parse_options({"kind": "current", "keep_alive": float("nan")})


def test_option_of_a_missing_kind_is_not_unknown() -> None:
    """
    Options of kinds that are not installed are known by name.
    """
    for option in ("env_dict", "env_yml", "env_yml_str", "pip", "channels", "compile_bytecode"):
        with pytest.raises(WrongKindError):
            layered(**{option: []})


@pytest.mark.parametrize("error", [UnknownOptionError("a"), WrongKindError("a", "b", ("c",))])
def test_errors_of_declarations_travel(error: OptionError) -> None:
    """
    The errors keep their facts through a pickle.
    """
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_what_was_put_into_the_mappings_is_checked_too() -> None:
    """
    A name that was put into a mapping by hand is refused when it is made use of.
    """
    options = layered()
    options.host["regoins"] = ["us"]
    options.environment["requirments"] = ["a"]
    options.gateway["sreve"] = True
    with pytest.raises(UnknownOptionError, match="'regions'"):
        structure_host_options(options, Plain())
    with pytest.raises(UnknownOptionError, match="'requirements'"):
        structure_environment(options)
    with pytest.raises(UnknownOptionError, match="'serve'"):
        structure_gateway(options)


# -- Typed values ------------------------------------------------------------------


def test_typed_values_have_their_types() -> None:
    """
    Lists become tuples, integers floats; the converter of a field runs after the check.
    """
    options = layered(
        requirements=["a", "b"], limit=2, machine_type=["x"], keep_alive=3, exposed_port=80
    )
    environment = structure_environment(options)
    assert environment == Layered(requirements=["a", "b"], limit=2.0)
    assert attrs.asdict(environment)["requirements"] == (("a", "b"),)
    host_options = structure_host_options(options, Plain())
    assert host_options == HostOptions(machine_type=("x",), keep_alive=3.0)
    assert type(host_options.keep_alive) is float
    assert structure_gateway(options) == Gateway(exposed_port=80)
    assert structure_environment(layered(requirements=(("a",), ["b"]))) == Layered(
        requirements=[["a"], ["b"]]
    )


def test_none_stands_for_not_set() -> None:
    """
    None is kept in the mappings, and gives the default even where the type has no None.
    """
    options = layered(requirements=None, force=None, keep_alive=None, serve=None)
    assert options.environment == {"kind": "layered", "requirements": None, "force": None}
    assert structure_environment(options) == Layered()
    assert structure_host_options(options, Plain()) == HostOptions()
    assert structure_gateway(options) == Gateway()


def test_options_of_other_hosts_are_kept_and_not_passed() -> None:
    """
    A host is given its own options; those of another stay in the mapping.
    """
    options = layered(queue="fast", keep_alive=3)
    assert structure_host_options(options, Queued()) == QueueOptions(
        queue="fast", keep_alive=3.0
    )
    assert structure_host_options(options, Plain()) == HostOptions(keep_alive=3.0)
    assert structure_host_options(options, Around()) == QueueOptions(
        queue="fast", keep_alive=3.0
    )
    assert options.host == {"queue": "fast", "keep_alive": 3}


def test_unusable_options_are_named() -> None:
    """
    An option that is set and that the host does not act on is told; None sets nothing.
    """
    options = layered(queue="fast", keep_alive=3, regions=["us"], secrets=None)
    assert unusable_options(options, Plain()) == ("queue",)
    assert unusable_options(options, Queued()) == ("regions",)


# -- Kept values -------------------------------------------------------------------


def test_typed_values_are_kept_while_nothing_changes() -> None:
    """
    The same value is given as long as the mappings compare equal, whatever the host.
    """
    options = layered(requirements=["a"], regions=["us"])
    hosts = Plain(), Queued()
    first = [structure_host_options(options, host) for host in hosts]
    assert structure_environment(options) is structure_environment(options)
    assert structure_gateway(options) is structure_gateway(options)
    assert structure_host_options(options, hosts[1]) is first[1]


def test_change_in_place_is_seen() -> None:
    """
    A change of a mapping, or deep inside of it, makes the typed value anew.
    """
    options = layered(
        requirements=[["a"]], metadata={"tags": ["x"], "set": {1}}, variables={"A": "1"}
    )
    host = Plain()
    before = structure_environment(options), structure_host_options(options, host)
    options.environment["requirements"][0].append("b")
    options.environment["variables"]["A"] = "2"
    options.host["metadata"]["set"].add(2)
    assert structure_environment(options) == Layered(
        requirements=[["a", "b"]], variables={"A": "2"}
    )
    assert structure_host_options(options, host) is not before[1]
    options.environment["requirements"].append(["c"])
    assert structure_environment(options) == Layered(
        requirements=[["a", "b"], ["c"]], variables={"A": "2"}
    )
    options.environment["requirements"].append(3)
    with pytest.raises(OptionTypeError, match=r"requirements\[2\]"):
        structure_environment(options)


class Vague:
    """
    A value that does not compare to a truth, as an array does not.
    """

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]  # as lists have none


def test_values_that_do_not_compare_are_taken() -> None:
    """
    A value whose comparison fails may be an option; at worst the rest is made anew.
    """
    options = layered(metadata={"array": Vague(), "more": [Vague()]})
    kept = structure_host_options(options, Plain())
    assert structure_host_options(options, Plain()) is kept
    options.host["metadata"]["array"] = Vague()
    assert structure_host_options(options, Plain()) is not kept
    assert unstructure(HostOptions(health_check_config=None)) == {}


def test_kept_values_go_with_their_options() -> None:
    """
    Nothing is kept of options that are gone, and a copy has values of its own.
    """
    records = (vocabulary._environments, vocabulary._host_options, vocabulary._gateways)
    options = layered(keep_alive=3)
    structure_host_options(options, Plain())
    other = copy.deepcopy(options)
    other.environment["force"] = True
    assert structure_environment(other) == Layered(force=True)
    assert structure_environment(options) == Layered()
    assert pickle.loads(pickle.dumps(Options(host={"keep_alive": 3}))).host == {"keep_alive": 3}
    # Options of other tests may go meanwhile, so that only these are looked for.
    places = [(each, id(one)) for each in records for one in (options, other)]
    assert any(identity in each._kept for each, identity in places)
    del options, other
    gc.collect()
    assert not any(identity in each._kept for each, identity in places)


def test_kept_values_follow_the_plugins() -> None:
    """
    Once other plugins are there, a kept environment is made by their class.
    """
    options = layered()
    assert type(structure_environment(options)) is Layered

    made: Any = ModuleType("other")
    made.fal_core_api = 1
    with registered(made, "other"):
        assert structure_environment(options) == Layered()
        assert vocabulary.vocabulary().plugins.loaded[-1].entry.name == "other"


def test_kept_values_are_made_once() -> None:
    """
    A call that changed nothing gets the very values of the call before.
    """
    options = layered(requirements=["a", "b"], keep_alive=3, regions=["us"], machine_type="GPU")
    host = Queued()
    for call in (
        lambda: structure_environment(options),
        lambda: structure_host_options(options, host),
        lambda: structure_gateway(options),
    ):
        first = call()
        assert all(call() is first for _ in range(3))


# -- Away and back -----------------------------------------------------------------


def test_unstructured_values_are_plain_json() -> None:
    """
    What differs from the defaults goes away as JSON; functions are left out.
    """
    options = QueueOptions(
        queue="fast",
        machine_type=("a", "b"),
        setup_function=lambda: None,
        metadata={"path": Path("a"), "nested": [{"x": (1, 2)}]},
        app_files_context_dir=Path("b"),
        _scheduler="nomad",
        private_logs=False,
    )
    gone = unstructure(options)
    assert json.loads(json.dumps(gone)) == gone
    assert gone == {
        "queue": "fast",
        "machine_type": ["a", "b"],
        "metadata": {"path": "a", "nested": [{"x": [1, 2]}]},
        "app_files_context_dir": "b",
        "_scheduler": "nomad",
        "private_logs": False,
    }
    assert unstructure(Gateway()) == {}
    assert unstructure(Gateway(serve=True)) == {"serve": True}


@pytest.mark.parametrize("value", [object(), b"a", 1j, {1: 2}])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    """
    A value that cannot go away as JSON is an error that says where it stands.
    """
    with pytest.raises(OptionTypeError, match=r"metadata.*to leave this process"):
        unstructure(HostOptions(metadata={"a": value}))


words = st.text(min_size=1, max_size=5)
requirements = st.one_of(
    st.lists(words, max_size=3), st.lists(st.lists(words, min_size=1, max_size=2), max_size=2)
)
environment_options = st.fixed_dictionaries(
    {},
    optional={
        "requirements": requirements,
        "python_version": st.none() | words,
        "force": st.booleans(),
        "variables": st.dictionaries(words, words, max_size=2),
        "limit": st.integers(0, 9) | st.floats(0, 1e9),
    },
)
host_options = st.fixed_dictionaries(
    {},
    optional={
        "machine_type": words | st.lists(words, max_size=2),
        "keep_alive": st.none() | st.integers(0, 99) | st.floats(0, 1e9),
        "max_concurrency": st.integers(1, 99),
        "regions": st.lists(words, max_size=2),
        "metadata": st.dictionaries(
            words, st.recursive(st.none() | words, st.lists), max_size=2
        ),
        "queue": words,
        "_base_image": words,
        "private_logs": st.booleans(),
    },
)
gateway_options = st.fixed_dictionaries(
    {}, optional={"serve": st.booleans(), "exposed_port": st.integers(0, 65535)}
)


@given(environment_options, host_options, gateway_options)
def test_nothing_is_lost_on_the_way_through_hosts(
    environment: dict[str, Any], host: dict[str, Any], gateway: dict[str, Any]
) -> None:
    """
    Sorting loses and adds nothing, and parsing what was sorted gives the same again.
    """
    config = {"kind": "layered", **environment, **host, **gateway}
    before = copy.deepcopy(config)
    options = parse_options(config)
    for place in (Plain(), Queued()):
        structure_host_options(options, place)
    joined = {**options.host, **options.environment, **options.gateway}
    assert joined == config == before
    assert parse_options(joined) == options


@given(environment_options, host_options, gateway_options)
def test_typed_values_come_back_equal(
    environment: dict[str, Any], host: dict[str, Any], gateway: dict[str, Any]
) -> None:
    """
    An environment, host options and a gateway that went away as JSON come back equal.
    """
    options = parse_options({"kind": "layered", **environment, **host, **gateway})
    place = Queued()
    typed = (
        structure_environment(options),
        structure_host_options(options, place),
        structure_gateway(options),
    )
    gone = json.loads(json.dumps([unstructure(value) for value in typed]))
    assert gone[0] == unstructure_environment(typed[0])
    back = Options(environment=gone[0], host=gone[1], gateway=gone[2])
    assert typed == (
        structure_environment(back),
        structure_host_options(back, place),
        structure_gateway(back),
    )
    assert typed == (
        restore_environment(gone[0]),
        restore(QueueOptions, gone[1]),
        restore(Gateway, gone[2]),
    )


class Color(enum.Enum):
    RED = (1, 0, 0)


class Size(enum.IntEnum):
    SMALL = 1


@attrs.frozen(kw_only=True)
class Rich(CurrentEnvironment):
    kind: ClassVar[str] = "rich"

    project: Path | None = None
    colors: frozenset[Color] = frozenset()
    size: Size = Size.SMALL
    point: Layered | None = None


def test_paths_and_enums_come_back_as_themselves() -> None:
    """
    What JSON has no word for comes back of the type that the field declares.
    """
    rich = Rich(
        project=Path("a"), colors=frozenset({Color.RED}), point=Layered(project=Path("b"))
    )
    made: Any = ModuleType("other")
    made.fal_core_api = 1
    made.fal_register_environments = hookimpl(lambda: [Rich])
    with registered(made, "other"):
        gone = json.loads(json.dumps(unstructure_environment(rich)))
        assert gone == {
            "kind": "rich",
            "project": "a",
            "colors": ["RED"],
            "point": {"project": "b"},
        }
        assert restore_environment(gone) == rich
        with pytest.raises(UnknownOptionError, match="'clors'"):
            restore_environment({"kind": "rich", "clors": []})
    with pytest.raises(UnknownNameError, match="'rich'"):
        restore_environment(gone)
    assert restore(HostOptions, unstructure(HostOptions(metrics_port=Size.SMALL))) == (
        HostOptions(metrics_port=1)
    )


@given(host_options, host_options)
def test_merging_fills_only_what_is_missing(
    target: dict[str, Any], incoming: dict[str, Any]
) -> None:
    """
    Merging keeps every value there is, None among them, and takes over the others.
    """
    expected = {**incoming, **target}
    merge_basic_config(target, incoming)
    assert target == expected
