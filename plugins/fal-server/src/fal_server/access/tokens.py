"""
Tokens: JSON Web Tokens that the server issues and accepts for a while.

They are signed with a key of the data directory. Each has a purpose, and is good for
nothing else. Each names the key that made it, and is not valid without that.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Collection, Mapping
from typing import Any

import attrs
import jwt

from fal_server.errors import Unauthenticated

#: The longest token that is looked at, in characters.
_LONGEST = 6000

_ALGORITHM = "HS256"

#: A token that was issued before the clock was set back is valid all the same.
_OPTIONS: Any = {"require": ["exp", "aud", "sub", "key"], "verify_iat": False}


@attrs.frozen
class Tokens:
    """Issues tokens, and verifies them."""

    _key: bytes = attrs.field(repr=False)

    def make(
        self, purpose: str, subject: str, *, key: str, seconds: float, **claims: Any
    ) -> str:
        """
        Issue a token for *subject*, an account, that is valid for some *seconds*.

        Arguments:
            key: The id of the key that the token ends with.
        """
        now = time.time()
        content = {
            "aud": purpose,
            "sub": subject,
            "key": key,
            "iat": int(now),
            "exp": int(now + seconds),
            **claims,
        }
        return jwt.encode(content, self._key, _ALGORITHM)

    def open(self, purpose: str | Collection[str], token: str) -> Mapping[str, Any]:
        """
        Return the claims of a token; ``sub`` is the account, ``aud`` the purpose, and
        ``key`` the key that made it, which may have been revoked since.

        Raises:
            Unauthenticated: It is not valid, has expired, or is for another *purpose*.
        """
        purposes = [purpose] if isinstance(purpose, str) else list(purpose)
        if len(token) > _LONGEST or not token.isascii():
            raise Unauthenticated("The token is not valid.")
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token, self._key, [_ALGORITHM], options=_OPTIONS, audience=purposes
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired.") from None
        except jwt.InvalidAudienceError:
            raise Unauthenticated("The token is for something else.") from None
        except jwt.InvalidTokenError:
            raise Unauthenticated("The token is not valid.") from None
        return claims

    def word(self, *parts: str) -> str:
        """Return a word that nobody can guess, and that is always the same for the same *parts*."""
        # The signed part of a token begins with no bracket, so that no word is a signature.
        digest = hmac.digest(self._key, json.dumps(parts).encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
