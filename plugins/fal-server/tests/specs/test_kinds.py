"""The kinds of environments that a server runs."""

from __future__ import annotations

import pytest
from isolate_proto import EnvironmentDefinition

from fal_server.errors import Invalid
from fal_server.specs.kinds import check_kinds


@pytest.mark.parametrize("kind", ["virtualenv", "", "current"])
def test_other_kinds_are_refused(kind: str):
    """
    A server that was told which kinds it runs refuses others, that of a client which names
    none among them.
    """
    with pytest.raises(
        Invalid, match="runs environments of kind conda and container, and none"
    ):
        check_kinds([EnvironmentDefinition(kind=kind)], ("container", "conda"))


def test_all_kinds_are_run_unless_told():
    """Without a choice all are run, and with one those that it names."""
    check_kinds([EnvironmentDefinition(kind="any")], ())
    check_kinds([EnvironmentDefinition(kind="container")], ("container",))
