"""Messages of the service as events."""

from __future__ import annotations

import isolate_proto
import pytest

from fal_host_serverless.wire.messages import read_urls


@pytest.mark.parametrize(
    ("page", "has_page", "shown"),
    [
        ("http://run/me/app/playground#", True, "http://run/me/app/playground"),
        ("http://run/me/app/playground#", False, None),
        ("https://fal.test/models/me/app", False, "https://fal.test/models/me/app"),
        ("", True, None),
    ],
)
def test_page_is_shown_where_there_is_one(page: str, has_page: bool, shown: str | None):
    """The playground of an application is one URL, and is left out if the application has none."""
    urls = isolate_proto.ServiceURLs(run="http://run/me/app", playground=page)
    assert read_urls(urls, has_page=has_page).get("playground") == shown
