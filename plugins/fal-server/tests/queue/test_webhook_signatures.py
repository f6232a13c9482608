"""Signatures of webhooks, and the keys that check them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fal_server.queue.webhook_signatures import PERIOD, WebhookSignatures

MOMENT = 1_800_000_000


def check(key: dict[str, Any], signature: str, *lines: str) -> None:
    public = base64.urlsafe_b64decode(key["x"] + "=" * (-len(key["x"]) % 4))
    message = "\n".join(lines).encode()
    Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(signature), message)


def test_keys_that_receivers_have_kept():
    """
    A key is published for a month before it signs, and for a month after that, so that neither
    receivers that have kept the keys nor webhooks that come late are refused.
    """
    signatures = WebhookSignatures(b"secret")
    signed = signatures.sign("request", "account", MOMENT, "digest")
    lines = ("request", "account", str(MOMENT), "digest")
    first, *others = signatures.published(MOMENT)["keys"]
    check(first, signed, *lines)
    for other in others:
        with pytest.raises(InvalidSignature):
            check(other, signed, *lines)
    for moment in (MOMENT - PERIOD, MOMENT + PERIOD):
        assert first in signatures.published(moment)["keys"]
    assert first not in signatures.published(MOMENT + 2 * PERIOD)["keys"]
    assert len({key["kid"] for key in (first, *others)}) == 3


def test_keys_follow_from_the_secret():
    """
    Servers that share the secret sign alike, and another secret has other keys; nothing of it
    is shown.
    """
    one, same, other = (WebhookSignatures(each) for each in (b"secret", b"secret", b"other"))
    assert one.published(MOMENT) == same.published(MOMENT)
    assert one.published(MOMENT)["keys"][0] != other.published(MOMENT)["keys"][0]
    assert "secret" not in repr(one)
