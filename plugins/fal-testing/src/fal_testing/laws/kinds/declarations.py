"""Laws of declarations: what tells environments apart, in each process alike."""

from __future__ import annotations

from fal_core.environments import Environment
from fal_core.errors import OptionError
from fal_testing.harness.builders import send_away
from fal_testing.harness.expectations import expect

#: A requirement that no environment has.
_NOWHERE = "fal-core-law-nobody-has-this"

_FIELDS = "Keep in the attrs fields of the class all that tells environments apart."


def test_an_environment_travels_whole(unbuilt: Environment, law_timeout: float) -> None:
    """
    An environment that has travelled to another process and back is equal to the first, and
    its key is the same there.
    """
    copy, key = send_away(unbuilt, law_timeout)
    expect(copy, unbuilt, "An environment that has travelled", _FIELDS)
    look = "Make it of what is the same in all processes, which hash() and id() are not."
    expect(key, unbuilt.key, "The key of an environment in another process", look)


def test_environments_that_differ_have_other_keys(
    unbuilt: Environment, unsolvable: Environment
) -> None:
    """Two environments that are declared differently have two keys."""
    assert unbuilt.key != unsolvable.key, (
        f"Two environments have one key, {unbuilt.key!r}, and may be built differently: a "
        "function would run in what was built for another one. Make the key of all that "
        "makes a difference."
    )


def test_an_extended_environment_is_another(unbuilt: Environment) -> None:
    """
    An environment that is extended by a requirement has another key, or it is an
    ``OptionError`` that it cannot be.
    """
    try:
        extended = unbuilt.extend([_NOWHERE])
    except OptionError:
        return
    assert extended.key != unbuilt.key, (
        f"An environment was extended by {_NOWHERE!r}, and its key is the same: what serves "
        "functions would be missing there. Return an environment with the requirement added, "
        "or raise OptionError where the kind takes none."
    )
