"""
Led runners in containers, which reach their server at the hosts that released clients have in
their code.
"""

from __future__ import annotations

import textwrap

import pytest
from engines import BASE

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def boxing(engine, make_applied):
    """A server that leads its runners, and whose machine has an engine."""
    return make_applied("--lead-runners")


@pytest.mark.usefixtures("newest_clients")
def test_functions_in_images(boxing, programs):
    """A function in a container reaches the server by these hosts."""
    nickname = boxing.python(
        f"""
        import json, fal
        from fal import ContainerImage
        {textwrap.indent(programs.ASK_BY_FOREIGN_HOST, " " * 8)}
        asking = fal.function(
            kind="container",
            image=ContainerImage.from_dockerfile_str("FROM {BASE}"),
            machine_type="XS",
            keep_alive=0,
        )(ask)
        print("JSON " + json.dumps(asking()))
        """
    )
    assert nickname == "owner"
