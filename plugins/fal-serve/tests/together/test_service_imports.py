"""The modules that a service imports before its first response."""

from __future__ import annotations

import sys
from urllib.request import Request, urlopen

from fal_serve import App, endpoint


def test_a_service_imports_no_more_than_it_needs() -> None:
    """Packages that few services use are not imported before the first response."""

    class Lister(App, kind="current"):
        @endpoint("/")
        def answer(self) -> list[str]:
            names = ("websockets", "prometheus_client")
            return [name for name in names if name in sys.modules]

    service = Lister.spawn()
    try:
        with urlopen(Request(f"{service.url}/", b""), timeout=30) as response:
            assert response.read() == b"[]"
    finally:
        service.cancel()
