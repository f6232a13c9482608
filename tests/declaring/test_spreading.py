"""Options that are written together: in a mapping, or as an environment."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import pytest
from declaring_examples import Boxed, Layered, Plain, Queued, answer

from fal_core.decorators import function
from fal_core.environments import CurrentEnvironment
from fal_core.errors import OptionError, OptionTypeError, UnknownNameError, UnknownOptionError
from fal_core.options import Options


def declared(*args: Any, **config: Any) -> Options:
    """Return the options of a function of the host ``plain``."""
    return function(*args, host=Plain(), **config)(answer).options


def test_options_in_a_mapping_are_options() -> None:
    """What is in ``options`` is sorted and checked like the keywords beside it."""
    together = declared("layered", keep_alive=3, options={"force": True, "queue": "fast"})
    assert together == declared("layered", keep_alive=3, force=True, queue="fast")
    with pytest.raises(UnknownOptionError, match=r"'requirments'.*'requirements'"):
        declared("layered", options={"requirments": []})
    with pytest.raises(OptionTypeError, match="keep_alive"):
        declared("layered", options={"keep_alive": "sixty"})


def test_a_host_spells_options_in_a_mapping_too() -> None:
    """The keywords of a host are understood in the mapping."""

    class Spelling(Queued):
        @classmethod
        def parse_key(cls, key: str, value: Any) -> tuple[Any, Any]:
            return ("queue", value) if key == "line" else (key, value)

    options = function("layered", host=Spelling(), options={"line": "fast"})(answer).options
    assert options.host == {"queue": "fast"}


def test_an_image_in_a_mapping_implies_its_kind() -> None:
    """An image without a kind is one of a container, wherever it is written."""
    assert declared(options={"image": "python"}).environment == {"image": "python"}


def test_an_environment_stands_in_place_of_a_kind() -> None:
    """The fields that differ from their defaults are the options."""
    environment = Layered(requirements=["numpy"], force=True)
    assert declared(environment, keep_alive=3) == Options(
        host={"keep_alive": 3},
        environment={"kind": "layered", "requirements": (("numpy",),), "force": True},
    )


def test_an_environment_replaces_the_one_before() -> None:
    """``on`` with an environment keeps no option of the environment before, and those of hosts."""
    first = function("layered", host=Plain(), requirements=["numpy"], keep_alive=3)(answer)
    second = first.on(kind=Layered(force=True))
    assert second.options.environment == {"kind": "layered", "force": True}
    assert second.options.host == {"keep_alive": 3}


def test_on_takes_a_mapping() -> None:
    """``on`` changes the options in a mapping, and keeps the others."""
    first = function("layered", host=Plain(), requirements=["numpy"], keep_alive=3)(answer)
    second = first.on(options={"keep_alive": 5, "force": True})
    assert second.options == declared(
        "layered", requirements=["numpy"], keep_alive=5, force=True
    )


def test_an_option_is_written_once() -> None:
    """An option that is written twice is an error, which says where."""
    with pytest.raises(OptionError, match="'keep_alive' is written as a keyword and in"):
        declared("layered", keep_alive=3, options={"keep_alive": 3})
    with pytest.raises(OptionError, match=r"Write Layered\(force=…\)"):
        declared(Layered(), force=True)


@pytest.mark.parametrize("wrong", ["force", ["force"], {1: "one"}])
def test_what_is_no_mapping_of_options_is_refused(wrong: object) -> None:
    """``options`` is a mapping whose keys are names."""
    with pytest.raises(OptionTypeError, match="'options' must be a mapping"):
        declared("layered", options=wrong)


@attrs.frozen(kw_only=True)
class Unknown(CurrentEnvironment):
    """An environment that no plugin provides."""

    kind: ClassVar[str] = "unknown-kind"


@attrs.frozen(kw_only=True)
class OtherBoxed(Boxed):
    """An environment of a kind that has another class."""


def test_an_environment_is_one_that_a_plugin_provides() -> None:
    """The class of an environment is the one that its kind has here."""
    with pytest.raises(UnknownNameError, match="unknown-kind"):
        declared(Unknown())
    with pytest.raises(OptionError, match=r"Boxed here, not .*OtherBoxed"):
        declared(OtherBoxed(image="python"))
