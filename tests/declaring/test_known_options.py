"""Known options: what an option that is refused belongs to, or is nearest to."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from declaring_examples import Plain, Queued, QueueOptions, layered

from fal_core.declaring.known_options import KnownOptions, nearest_name
from fal_core.declaring.vocabulary import parse_options
from fal_core.errors import OptionError, UnknownOptionError, WrongKindError
from fal_core.options import HostOptions
from fal_core.plugins import load_plugins


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        (
            {"requirments": ["a"]},
            UnknownOptionError,
            "Unknown option 'requirments'. Did you mean 'requirements'?",
        ),
        ({"machinetype": "a"}, UnknownOptionError, "Did you mean 'machine_type'?"),
        ({"gpu": "H100"}, UnknownOptionError, "Did you mean 'machine_type'?"),
        ({"gpus": 2}, UnknownOptionError, "Did you mean 'num_gpus'?"),
        ({"memory": 1024}, UnknownOptionError, "Did you mean 'machine_type'?"),
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
    ],
)
def test_unknown_options_name_the_one_that_was_meant(
    config: dict[str, Any], error: type[OptionError], words: str
) -> None:
    """An option that is refused is another kind's, or the error has the name nearest to it."""
    with pytest.raises(error) as caught:
        parse_options({"kind": "layered", **config})
    assert type(caught.value) is error
    assert words in str(caught.value)


def test_option_of_a_missing_kind_is_not_unknown() -> None:
    """Options of kinds that are not installed are known by name."""
    for option in ("env_dict", "env_yml", "env_yml_str", "pip", "channels", "compile_bytecode"):
        with pytest.raises(WrongKindError):
            layered(**{option: []})


def test_options_of_installed_plugins_are_known_with_their_owners() -> None:
    """Each option of a host has the class that declares it first, each kind its options."""
    plugins = attrs.evolve(load_plugins(), hosts={"plain": Plain, "queued": Queued})
    known = KnownOptions.read(plugins)
    assert known.host["keep_alive"] is HostOptions
    assert known.host["queue"] is QueueOptions
    assert "requirements" in known.environments["layered"]
    # Documented, and not installed.
    assert "env_yml" in known.environments["conda"]
    assert "serve" in known.gateway


def test_the_first_candidates_with_a_near_name_win() -> None:
    """A near name of the first candidates is taken before a nearer one of the next."""
    first, second = {"requirements"}, {"requirments"}
    assert nearest_name("requirments", [first, second]) == "requirements"
    assert nearest_name("retry", [["retries", "entry"]]) == "retries"
    assert nearest_name("retry", [["entry"]]) == "entry"
    assert nearest_name("xyzzy", [first, second]) is None
