"""
Led runners on the nodes of a Ray cluster, which reach their server at the hosts that released
clients have in their code.
"""

from __future__ import annotations

import importlib.util
import textwrap

import pytest

if importlib.util.find_spec("fal_host_ray") is None:
    pytest.skip("The host is not installed.", allow_module_level=True)

from programs import share_clients
from ray_nodes import HEAD, MACHINES, NODE, OPTIONS, start_cluster


@pytest.fixture(scope="module")
def cluster():
    """A cluster with a node for a runner."""
    with start_cluster((HEAD, NODE)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    """The released clients."""
    return share_clients(tmp_path_factory, "newest")


@pytest.fixture(scope="module")
def spread(cluster, make_applied):
    """A server that leads its runners, which are on this machine or on the cluster."""
    return make_applied("--lead-runners", *OPTIONS, machines=MACHINES)


def test_functions_on_nodes(spread, programs):
    """
    A function on a node reaches the server by these hosts. A server that only its own machine
    reaches says so when it starts.
    """
    assert any("leads nowhere on other machines" in each for each in spread.program.lines)
    nickname = spread.python(
        f"""
        import json, fal
        {textwrap.indent(programs.ASK_BY_FOREIGN_HOST, " " * 8)}
        asking = fal.function(machine_type="GPU-A100", keep_alive=0)(ask)
        print("JSON " + json.dumps(asking()))
        """
    )
    assert nickname == "owner"
