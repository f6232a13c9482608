"""The vocabulary: options are sorted by owner, checked, and made typed."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import pytest
from declaring_examples import (
    Around,
    Boxed,
    Layered,
    Plain,
    Queued,
    QueueOptions,
    answer,
    layered,
)

from fal_core.declaring import vocabulary
from fal_core.declaring.known_options import KnownOptions
from fal_core.declaring.vocabulary import (
    parse_options,
    structure_environment,
    structure_gateway,
    structure_host_options,
    unusable_options,
)
from fal_core.decorators import function
from fal_core.errors import (
    OptionError,
    OptionTypeError,
    OptionValueError,
    UnknownNameError,
    UnknownOptionError,
    WrongKindError,
)
from fal_core.options import Gateway, HostOptions, Options


def test_options_are_sorted_and_kept_as_written() -> None:
    """Each option goes to its mapping, the very object that the user wrote."""
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
    """The documented ``Host.parse_options`` knows the options of every plugin."""
    options = Plain.parse_options(kind="layered", queue="fast", keep_alive=3)
    assert options.host == {"queue": "fast", "keep_alive": 3}


def test_kind_is_virtualenv_where_nothing_says_otherwise() -> None:
    """Without a kind the kind is ``virtualenv``, and the mappings stay as written."""
    assert vocabulary.kind_of({}) == "virtualenv"
    assert vocabulary.kind_of({"kind": None}) == "virtualenv"


def test_image_stands_for_kind_container() -> None:
    """``image=`` implies the kind, unless a kind is given, and is kept as it is."""
    image = object()
    options = parse_options({"image": image})
    assert options.environment == {"image": image}
    assert structure_environment(options) == Boxed(image=image)
    with pytest.raises(WrongKindError, match="belongs to kind 'container', not to 'layered'"):
        layered(image=image)


def test_force_env_build_is_force() -> None:
    """The SDK's spelling is understood; both at once is an error."""
    assert layered(force_env_build=True).environment == {"kind": "layered", "force": True}
    with pytest.raises(OptionError, match="the same option"):
        layered(force_env_build=True, force=True)
    with pytest.raises(OptionError, match="the same option"):
        layered(force=True, force_env_build=False)


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
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
        ({"kind": "nix"}, UnknownNameError, "No kind of environment is called 'nix'."),
        ({"kind": "layerd"}, UnknownNameError, "Did you mean 'layered'?"),
        ({"kind": "container"}, OptionError, "'image' is missing from kind 'container'"),
    ],
)
def test_wrong_declaration_fails_where_it_is_written(
    config: dict[str, Any], error: type[OptionError], words: str
) -> None:
    """A wrong declaration is an error at its own line that suggests the right option."""
    with pytest.raises(error) as caught:
        parse_options({"kind": "layered", **config})
    assert type(caught.value) is error
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("option", "refused", "least", "words"),
    [
        ("num_gpus", -1, 0, "at least 0"),
        ("nodes", 0, 1, "at least 1"),
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
    A number out of bounds is refused where it is written; the bound itself is not.

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
    """A maximum below the minimum is refused, wherever the two come together."""
    told = "Option 'max_concurrency' must be at least 3, which option 'min_concurrency'"
    with pytest.raises(OptionValueError, match=f"{told} asks for, not 1."):
        function("current", host=Plain(), min_concurrency=3, max_concurrency=1)
    isolated = function("current", host=Plain(), min_concurrency=3)(answer)
    with pytest.raises(OptionValueError, match=told):
        isolated.on(max_concurrency=2)
    assert isolated.on(max_concurrency=3).options.host["max_concurrency"] == 3


def test_nan_is_out_of_bounds() -> None:
    """NaN is refused as well."""
    with pytest.raises(OptionValueError, match="at least 0, not nan"):
        parse_options({"kind": "current", "keep_alive": float("nan")})


def test_values_put_into_the_mappings_are_checked() -> None:
    """An unknown name that was put into a mapping by hand is refused when it is used."""
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


def test_typed_values_have_their_types() -> None:
    """Lists become tuples, integers floats; the converter of a field runs after the check."""
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
    """None is kept in the mappings, and gives the default even where the type has no None."""
    options = layered(requirements=None, force=None, keep_alive=None, serve=None)
    assert options.environment == {"kind": "layered", "requirements": None, "force": None}
    assert structure_environment(options) == Layered()
    assert structure_host_options(options, Plain()) == HostOptions()
    assert structure_gateway(options) == Gateway()


def test_options_of_other_hosts_are_kept_and_not_passed() -> None:
    """A host is given its own options; those of another stay in the mapping."""
    options = layered(queue="fast", keep_alive=3)
    assert structure_host_options(options, Queued()) == QueueOptions(
        queue="fast", keep_alive=3.0
    )
    assert structure_host_options(options, Plain()) == HostOptions(keep_alive=3.0)
    assert structure_host_options(options, Around()) == QueueOptions(
        queue="fast", keep_alive=3.0
    )
    assert options.host == {"queue": "fast", "keep_alive": 3}


@attrs.frozen(kw_only=True)
class RackOptions(HostOptions):
    """Options of a host that no plugin registers."""

    rack: int | None = None


@attrs.define(eq=False, slots=False)
class Rack(Plain):
    """A host that its author tries before there is a plugin."""

    options: ClassVar[type[HostOptions]] = RackOptions


def test_host_that_is_no_plugin_has_its_options() -> None:
    """
    A host that is given as an object has the options of its class, which stay with a
    function that moves to another host and back.
    """
    isolated = function("current", host=Rack(), rack=3)(len)
    assert isolated.options.host == {"rack": 3}
    moved = isolated.on(Plain())
    assert unusable_options(moved.options, Plain()) == ("rack",)
    assert structure_host_options(moved.on(Rack()).options, Rack()) == RackOptions(rack=3)
    with pytest.raises(OptionTypeError, match="rack"):
        function("current", host=Rack(), rack="top")


def host_with_option(name: str) -> Plain:
    """Return a host that is no plugin, with an option called *name* that no other host has."""
    options = attrs.make_class(
        "OwnOptions",
        {name: attrs.field(default=None, type="int | None")},
        bases=(HostOptions,),
        frozen=True,
        kw_only=True,
    )
    own: Plain = type("Own", (Plain,), {"options": options})()
    return own


def test_hosts_that_are_declared_at_once_keep_their_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host whose options become known while those of another are read is not forgotten."""
    read, inner = KnownOptions.read, host_with_option("shelf")

    def read_slowly(*arguments: Any) -> KnownOptions:
        known = read(*arguments)
        monkeypatch.setattr(KnownOptions, "read", read)
        # As another thread does meanwhile.
        function("current", host=inner, shelf=1)(len)
        return known

    monkeypatch.setattr(KnownOptions, "read", read_slowly)
    monkeypatch.setattr(vocabulary, "_known_options", None)
    function("current", host=Plain())(len)
    moved = function("current", host=inner, shelf=1)(len).on(Plain())
    assert moved.options.host == {"shelf": 1}


def test_hosts_that_are_made_again_and_again_take_no_memory() -> None:
    """Of the classes of options that have the same names one is kept."""
    function("current", host=host_with_option("cabinet"))(len)
    before = vocabulary._others
    for _ in range(10):
        function("current", host=host_with_option("cabinet"), cabinet=1)(len)
    assert vocabulary._others is before


def test_unusable_options_are_named() -> None:
    """An option that is set, and that the host does not act on, is listed; None sets nothing."""
    options = layered(queue="fast", keep_alive=3, regions=["us"], secrets=None)
    assert unusable_options(options, Plain()) == ("queue",)
    assert unusable_options(options, Queued()) == ("regions",)
