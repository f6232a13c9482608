"""
Runner keys: what the code of a runner shows to the server that runs it.

None is written down. A key is made of the id of its runner, so that a server that was
started again makes the same, and it is taken for as long as that runner lives.
"""

from __future__ import annotations

import hashlib
import hmac
import time

from fal_server.access.permissions import PRESETS
from fal_server.store.keys import Key, NewKey, hash_secret

#: What begins the id of such a key, and of no other.
_PREFIX = "runner-"

#: What code may that was deployed: send requests, and upload files.
DEPLOYED = PRESETS["API"]

#: What code may that was sent with a call, whose sender may run functions.
CALLED = DEPLOYED | {"serverless:apps:run"}


class RunnerKeys:
    """
    Makes the keys of runners, and knows those that are taken.

    Arguments:
        secret: What they are made with.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._keys: dict[str, Key] = {}

    def issue(
        self, runner_id: str, account_id: str, permissions: frozenset[str] = DEPLOYED
    ) -> NewKey:
        """
        Return the key of a runner of an account, which is taken from now on.
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
        return new

    def revoke(self, runner_id: str) -> None:
        """
        Take the key of a runner no longer.
        """
        self._keys.pop(f"{_PREFIX}{runner_id}", None)

    def find(self, id: str) -> Key | None:
        """
        Return the key with this *id*, None where no runner that lives has it.
        """
        return self._keys.get(id)


def derive_secret(signing_key: bytes) -> bytes:
    """
    Return what runner keys are made with, of what tokens are signed with.
    """
    return hmac.digest(signing_key, b"keys of runners", hashlib.sha256)
