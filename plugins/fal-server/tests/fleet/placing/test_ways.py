"""How the runners of a host are reached."""

from __future__ import annotations

import attrs

from fal_core.abilities import Tunnel, TunnellingHost
from fal_server.fleet.placing.ways import Way, find_origin, read_tunnel
from fal_testing import InProcessHost

TUNNEL = Tunnel("fd00::7", 4000, b"token forward 8080\n")


@attrs.define(eq=False, slots=False)
class Elsewhere(InProcessHost, TunnellingHost):
    """A host with one service."""

    def find_tunnel(self, url: str) -> Tunnel | None:
        return TUNNEL if url.endswith(":7000") else None


def test_runner_of_another_machine_is_reached_through_its_tunnel():
    """
    Requests to it go through the tunnel, with the host and the port of the URL that everybody
    else uses. Without one, they go there.
    """
    way = Way("elsewhere", Elsewhere())
    url = way.lead_to("http://127.0.0.1:7000")
    assert way.is_elsewhere
    assert read_tunnel(url) == (TUNNEL, "http://127.0.0.1:7000")
    origin = find_origin(url)
    assert (origin.name, origin.tunnel) == ("127.0.0.1:7000", TUNNEL)
    assert way.lead_to("http://127.0.0.1:7001") == "http://127.0.0.1:7001"


def test_runner_of_this_machine_is_reached_at_its_url():
    """It needs no tunnel."""
    assert not Way().is_elsewhere
    assert Way().lead_to("unix:/run/one") == "unix:/run/one"
