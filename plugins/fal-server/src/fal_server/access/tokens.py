"""
Tokens: short-lived words of the server that it recognises later.

They are JSON Web Tokens signed with a key of the data directory. Each has a purpose,
and is good for nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Collection, Mapping
from typing import Any

import attrs

from fal_server.errors import Unauthenticated
from fal_server.state.data_directories import DataDirectory

#: A token is no longer than this.
_LONGEST = 4096

_HEADER = {"alg": "HS256", "typ": "JWT"}


@attrs.frozen
class Tokens:
    """
    Makes tokens, and opens them.
    """

    _key: bytes = attrs.field(repr=False)

    def make(self, purpose: str, subject: str, *, seconds: float, **claims: Any) -> str:
        """
        Make a token of *subject*, an account, that is valid for some *seconds*.
        """
        now = time.time()
        content = {
            "aud": purpose,
            "sub": subject,
            "iat": int(now),
            "exp": int(now + seconds),
            **claims,
        }
        signed = f"{_encode(_to_bytes(_HEADER))}.{_encode(_to_bytes(content))}"
        return f"{signed}.{self._sign(signed)}"

    def open(self, purpose: str | Collection[str], token: str) -> Mapping[str, Any]:
        """
        Return the claims of a token; ``sub`` is the account, ``aud`` the purpose.

        Raises:
            Unauthenticated: It is not valid, or not for this *purpose*, or one of them.
        """
        signed, _, signature = token.rpartition(".")
        if len(token) > _LONGEST or not token.isascii():
            raise Unauthenticated("The token is not valid.")
        if not hmac.compare_digest(self._sign(signed), signature):
            raise Unauthenticated("The token is not valid.")
        claims: Mapping[str, Any] = json.loads(_decode(signed.partition(".")[2]))
        if claims["aud"] not in ((purpose,) if isinstance(purpose, str) else purpose):
            raise Unauthenticated("The token is for something else.")
        if claims["exp"] < time.time():
            raise Unauthenticated("The token has expired.")
        return claims

    def word(self, *parts: str) -> str:
        """
        Return what nobody guesses, and what is the same each time for the same *parts*.
        """
        # No token begins with a bracket.
        return self._sign(json.dumps(parts))

    def _sign(self, text: str) -> str:
        return _encode(hmac.digest(self._key, text.encode(), hashlib.sha256))


def read_key(directory: DataDirectory, name: str) -> bytes:
    """
    Return 32 secret bytes of the data directory, made where there are none.
    """
    path = directory.path / name
    if not path.exists():
        directory.write_private(path, secrets.token_bytes(32))
    return path.read_bytes()


def _to_bytes(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
