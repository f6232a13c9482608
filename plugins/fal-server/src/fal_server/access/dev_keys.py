"""
Dev keys: the key of a server for one developer, which everybody knows.

It is in no database: it is good on the server that was started with it, and for what runs on
the same machine. Pages of other sites, which a browser of the developer may show, do not get in
with it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from fal_server.access.permissions import PRESETS
from fal_server.errors import Forbidden
from fal_server.settings import DEV_KEY, is_loopback
from fal_server.store.keys import Key, hash_secret


def make_dev_key(account_id: str) -> Key:
    """Return the key, which may do everything that an account may."""
    id, _, secret = DEV_KEY.partition(":")
    return Key(
        id=id,
        account_id=account_id,
        hash=hash_secret(secret),
        alias="--dev",
        preset="FULL",
        permissions=PRESETS["FULL"],
        created_at=time.time(),
    )


def check_sender(headers: Mapping[str, str]) -> None:
    """
    Check that a request with the key is not of a page of another site.

    Such a page is of another origin, or its site has a name that leads to this machine.

    Raises:
        Forbidden: It is.
    """
    origin = headers.get("Origin")
    hosts = [f"//{headers.get('Host', '')}", *([] if origin is None else [origin])]
    if not all(map(_is_here, hosts)):
        raise Forbidden(
            f"The key {DEV_KEY} is for programs and pages of this machine, by its addresses "
            "127.0.0.1 and localhost. Others need a key of 'fal-core server keys create'."
        )


def _is_here(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
