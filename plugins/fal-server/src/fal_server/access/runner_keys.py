"""
Runner keys: with them the code of a runner authenticates to the server that runs it.

They are not stored. A key is derived from the id of its runner, so that a server that is
started again derives the same, and it is valid for as long as the runner lives.
"""

from __future__ import annotations

import hashlib
import hmac
import time

from fal_server.access.permissions import PRESETS
from fal_server.store.keys import Key, NewKey, hash_secret

#: The prefix of the ids of these keys, and of no others.
_PREFIX = "runner-"

#: The permissions of code that was deployed: send requests, and upload files.
DEPLOYED = PRESETS["API"]

#: The permissions of code that came with a call: its sender may run functions as well.
CALLED = DEPLOYED | {"serverless:apps:run"}


class RunnerKeys:
    """
    Derives the keys of runners, and knows which are valid.

    Arguments:
        secret: What the keys are derived from.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._keys: dict[str, Key] = {}
        self._hosts: dict[str, str] = {}

    def issue(
        self,
        runner_id: str,
        account_id: str,
        permissions: frozenset[str] = DEPLOYED,
        *,
        server_host: str = "",
    ) -> NewKey:
        """
        Return the key of a runner of an account, and accept it from now on.

        Arguments:
            server_host: The name of the server, as used by the client that launched the
                runner. Empty where that is unknown.
        """
        id = f"{_PREFIX}{runner_id}"
        new = NewKey(id=id, secret=hmac.new(self._secret, id.encode(), "sha256").hexdigest())
        self._keys[id] = Key(
            id=id,
            account_id=account_id,
            hash=hash_secret(new.secret),
            alias=id,
            preset="",
            permissions=permissions,
            created_at=time.time(),
        )
        self._hosts[id] = server_host
        return new

    def revoke(self, runner_id: str) -> None:
        """Accept the key of a runner no longer."""
        self._keys.pop(f"{_PREFIX}{runner_id}", None)
        self._hosts.pop(f"{_PREFIX}{runner_id}", None)

    def made(self, id: str) -> bool:
        """Return whether *id* is that of a runner's key, regardless of which replica launched it."""
        return id.startswith(_PREFIX)

    def is_genuine(self, id: str, secret: str) -> bool:
        """
        Return whether a server of this state has issued the key of a runner, which may have
        ended.
        """
        right = hmac.new(self._secret, id.encode(), "sha256").hexdigest()
        return hmac.compare_digest(right.encode(), secret.encode())

    def clear(self) -> None:
        """Accept no key any longer that was issued before."""
        self._keys.clear()
        self._hosts.clear()

    def find(self, id: str) -> Key | None:
        """Return the key with this *id*. None where no live runner has it."""
        return self._keys.get(id)

    def server_host(self, id: str) -> str:
        """
        Return the name of the server, as used by the client that launched the runner with
        this key. Empty where that is unknown, and for a key of others.
        """
        return self._hosts.get(id, "")


def derive_secret(signing_key: bytes) -> bytes:
    """Derive the secret of runner keys from the key that signs tokens."""
    return hmac.digest(signing_key, b"keys of runners", hashlib.sha256)
