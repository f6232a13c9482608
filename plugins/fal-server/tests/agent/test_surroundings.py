"""The variables that an agent inherits from its server."""

from __future__ import annotations

from fal_server_agent.agents import forget_credentials


def test_credentials_of_indexes():
    """Of the settings of indexes those with credentials are forgotten, and no others."""
    kept = {"UV_DEFAULT_INDEX": "https://host/simple", "PIP_NO_CACHE_DIR": "1"}
    variables = {
        **kept,
        "PIP_EXTRA_INDEX_URL": "https://host https://me:word@host/simple",
        "UV_INDEX_OURS_PASSWORD": "word",
        "UV_INDEX_OURS_USERNAME": "me",
    }
    forget_credentials(variables)
    assert variables == kept
