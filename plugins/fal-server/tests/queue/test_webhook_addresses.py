"""
Webhook addresses: those that webhooks may reach, in any notation.
"""

from __future__ import annotations

import pytest

from fal_server.errors import Invalid


def test_addresses_of_allowed_networks(served_plane):
    """
    Webhooks may reach an allowed network, and no other private address.
    """
    webhooks = served_plane.plane.plane.queue.webhooks
    assert webhooks.check("http://127.0.0.2/")
    assert webhooks.check("http://[::ffff:127.0.0.2]/")
    with pytest.raises(Invalid):
        webhooks.check("http://127.0.0.3/")
