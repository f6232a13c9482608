"""Typed options: kept while nothing changes, and written as JSON and back."""

from __future__ import annotations

import copy
import enum
import gc
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import attrs
import pytest
from declaring_examples import (
    Layered,
    Plain,
    Queued,
    QueueOptions,
    host_options,
    layered,
    requirements,
    words,
)
from hypothesis import given
from hypothesis import strategies as st

from fal_core.declaring import vocabulary
from fal_core.declaring.typed_options import restore, unstructure
from fal_core.declaring.vocabulary import (
    parse_options,
    restore_environment,
    structure_environment,
    structure_gateway,
    structure_host_options,
    unstructure_environment,
)
from fal_core.environments import CurrentEnvironment
from fal_core.errors import (
    OptionTypeError,
    UnknownNameError,
    UnknownOptionError,
)
from fal_core.hooks import hookimpl
from fal_core.options import TRAVELS_AS, Gateway, HostOptions, Options
from fal_core.plugins import registered


def test_typed_values_are_kept_while_nothing_changes() -> None:
    """The same value is returned as long as the mappings compare equal, for every host."""
    options = layered(requirements=["a"], regions=["us"])
    hosts = Plain(), Queued()
    first = [structure_host_options(options, host) for host in hosts]
    assert structure_environment(options) is structure_environment(options)
    assert structure_gateway(options) is structure_gateway(options)
    assert structure_host_options(options, hosts[1]) is first[1]


def test_change_in_place_is_seen() -> None:
    """A change of a mapping, at any depth, makes a new typed value."""
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
    """A value whose comparison is neither true nor false, like that of an array."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]  # as lists have none


def test_values_that_do_not_compare_are_taken() -> None:
    """A value whose comparison fails may be an option; at worst the rest is made anew."""
    options = layered(metadata={"array": Vague(), "more": [Vague()]})
    kept = structure_host_options(options, Plain())
    assert structure_host_options(options, Plain()) is kept
    options.host["metadata"]["array"] = Vague()
    assert structure_host_options(options, Plain()) is not kept
    assert unstructure(HostOptions(health_check_config=None)) == {}


def test_kept_values_go_with_their_options() -> None:
    """Values are dropped with their options, and a copy has values of its own."""
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
    """Once other plugins are there, a kept environment is made by their class."""
    options = layered()
    assert type(structure_environment(options)) is Layered

    made: Any = ModuleType("other")
    made.fal_core_api = 1
    with registered(made, "other"):
        assert structure_environment(options) == Layered()
        assert vocabulary.known_options().plugins.loaded[-1].entry.name == "other"


def test_kept_values_are_made_once() -> None:
    """A call that changed nothing gets the very values of the call before."""
    options = layered(requirements=["a", "b"], keep_alive=3, regions=["us"], machine_type="GPU")
    host = Queued()
    for call in (
        lambda: structure_environment(options),
        lambda: structure_host_options(options, host),
        lambda: structure_gateway(options),
    ):
        first = call()
        assert all(call() is first for _ in range(3))


def test_unstructured_values_are_plain_json() -> None:
    """Values that differ from the defaults are written as JSON; functions are left out."""
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
def test_values_that_json_cannot_hold_are_refused(value: Any) -> None:
    """A value that JSON cannot hold is an error that says where it is."""
    with pytest.raises(OptionTypeError, match=r"metadata.*to leave this process"):
        unstructure(HostOptions(metadata={"a": value}))


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


gateway_options = st.fixed_dictionaries(
    {}, optional={"serve": st.booleans(), "exposed_port": st.integers(0, 65535)}
)


@given(environment_options, host_options, gateway_options)
def test_nothing_is_lost_on_the_way_through_hosts(
    environment: dict[str, Any], host: dict[str, Any], gateway: dict[str, Any]
) -> None:
    """Sorting options neither loses nor adds any, and parsing sorted options gives the same again."""
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
    """An environment, host options and a gateway written as JSON are read back equal."""
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


@attrs.frozen(kw_only=True)
class Locked(CurrentEnvironment):
    kind: ClassVar[str] = "locked"

    secrets: Mapping[str, str] = attrs.field(
        factory=dict, metadata={TRAVELS_AS: lambda secrets: dict.fromkeys(secrets, "")}
    )


def test_secrets_stay_in_the_process() -> None:
    """A field travels as its metadata says, and a default still does not."""
    locked = Locked(secrets={"TOKEN": "hidden"})
    assert unstructure_environment(locked) == {"kind": "locked", "secrets": {"TOKEN": ""}}
    assert unstructure_environment(Locked()) == {"kind": "locked"}


def test_paths_and_enums_come_back_as_themselves() -> None:
    """Types that JSON lacks are read back as the field declares them."""
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
