"""
Signatures of webhooks: Ed25519, with keys that receivers fetch.

What is signed are four lines: the id of the request, that of the account, the time in seconds
since the epoch, and the SHA-256 of the body in hexadecimal. The signature is hexadecimal too.

Keys take turns, a month each, and all follow from one secret: every replica has the same, and
none is stored. Receivers may keep what they fetched for a day or longer: the key of the next
month is published before it signs, and that of the last month for as long as webhooks that it
has signed may arrive.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any

import attrs
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

#: Where receivers find the keys.
KEYS = "/.well-known/jwks.json"

#: Seconds for which a key signs.
PERIOD = 30 * 24 * 3600

#: Seconds for which receivers may keep the keys.
_KEPT = 24 * 3600


@attrs.frozen
class WebhookSignatures:
    """
    Signs webhooks.

    Arguments:
        secret: What the keys follow from.
    """

    secret: bytes = attrs.field(repr=False)

    def sign(self, request_id: str, account_id: str, timestamp: int, digest: str) -> str:
        """
        Return the signature of a webhook.

        Arguments:
            digest: The SHA-256 of its body, in hexadecimal.
        """
        message = "\n".join((request_id, account_id, str(timestamp), digest))
        return self._key(timestamp // PERIOD).sign(message.encode()).hex()

    def published(self, now: float) -> dict[str, Any]:
        """Return the keys of the time *now*, as a JSON Web Key Set: that which signs comes first."""
        number = int(now) // PERIOD
        return {"keys": [self._describe(each) for each in (number, number + 1, number - 1)]}

    async def answer(self, _: web.Request) -> web.Response:
        """Return the keys to a receiver."""
        headers = {"Cache-Control": f"public, max-age={_KEPT}"}
        return web.json_response(self.published(time.time()), headers=headers)

    def _describe(self, number: int) -> dict[str, str]:
        raw = self._key(number).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": hashlib.sha256(raw).hexdigest()[:16],
            "x": base64.urlsafe_b64encode(raw).rstrip(b"=").decode(),
        }

    def _key(self, number: int) -> Ed25519PrivateKey:
        """Return the key of a month, by its number."""
        message = f"signatures of webhooks {number}".encode()
        return Ed25519PrivateKey.from_private_bytes(
            hmac.digest(self.secret, message, hashlib.sha256)
        )
