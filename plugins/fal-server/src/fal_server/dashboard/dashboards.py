"""The dashboard of a server: all of its routes."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from fal_server.dashboard.control_routes import ControlRoutes
from fal_server.dashboard.live_routes import LiveRoutes
from fal_server.dashboard.pages import DashboardPages
from fal_server.dashboard.request_routes import RequestRoutes
from fal_server.dashboard.session_routes import SessionRoutes
from fal_server.http.api import ApiRoute, OpenRoute


@attrs.frozen
class Dashboard:
    """What answers the dashboard."""

    sessions: SessionRoutes
    live: LiveRoutes
    requests: RequestRoutes
    control: ControlRoutes

    def routes(self) -> Iterable[ApiRoute | OpenRoute]:
        """Return the routes."""
        yield from DashboardPages().routes()
        yield from self.sessions.routes()
        yield from self.live.routes()
        yield from self.requests.routes()
        yield from self.control.routes()
