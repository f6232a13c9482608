"""
Webhooks: telling a url of an answer, until it has taken it.

What is sent is signed: ``X-Fal-Webhook-Signature`` is the HMAC-SHA256, in hexadecimal,
of the timestamp in ``X-Fal-Webhook-Timestamp``, a dot and the body, under a secret of
the application's owner.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import logging
import socket
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import attrs
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from fal_server.errors import Invalid
from fal_server.requests import QueuedRequest, Requests

logger = logging.getLogger(__name__)

#: Seconds for which a webhook is tried, between two tries, and for one.
PATIENCE = 2 * 3600.0
_FIRST, _LONGEST = 1.0, 600.0
_TIMEOUT = 15.0

_LONGEST_URL = 2048

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Forbidden(OSError):
    """
    A name leads to an address that webhooks may not reach.
    """


class GuardedResolver(AbstractResolver):
    """
    Resolves names to public addresses alone, and to those of *allowed* networks.

    It is asked for the address that is then connected to, so that a name cannot lead
    elsewhere meanwhile.
    """

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = tuple(allowed)
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        kept = [each for each in found if self.allows(each["host"])]
        if not kept:
            raise Forbidden(f"{host} leads to no address that may be reached.")
        return kept

    async def close(self) -> None:
        await self._inner.close()

    def allows(self, address: str) -> bool:
        """
        Tell whether *address* may be reached.
        """
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None) or found
        if any(mapped in network for network in self._allowed):
            return True
        return bool(mapped.is_global) and not mapped.is_multicast


@attrs.define(eq=False)
class Webhooks:
    """
    Tells urls of answers.

    Arguments:
        key: What the secrets of accounts are made of.

        allowed: Networks that may be reached beside the public ones.
    """

    requests: Requests
    key: bytes = attrs.field(repr=False)
    allowed: Sequence[Network] = ()
    _session: aiohttp.ClientSession | None = None
    _tasks: dict[str, asyncio.Task[None]] = attrs.field(factory=dict)

    async def start(self) -> None:
        """
        Go on with what was not taken yet.
        """
        for request_id, _ in await self.requests.webhooks_due():
            self.tell(request_id)

    async def close(self) -> None:
        """
        Leave the rest to the next start.
        """
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def secret_of(self, account_id: str) -> str:
        """
        Return what the webhooks of an account are signed with.
        """
        return hmac.new(self.key, account_id.encode(), hashlib.sha256).hexdigest()

    def check(self, url: str) -> str:
        """
        Return *url*, if it can be a webhook.

        Raises:
            Invalid: It cannot.
        """
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError as error:
            raise Invalid("The webhook is no url.") from error
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username
        if not usable or len(url) > _LONGEST_URL:
            raise Invalid("A webhook is a url of http or https.")
        host = parts.hostname or ""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return url
        if not GuardedResolver(self.allowed).allows(host):
            raise Invalid("The webhook leads to an address that may not be reached.")
        return url

    def tell(self, request_id: str) -> None:
        """
        Tell the webhook of a request of its answer.
        """
        if request_id not in self._tasks:
            task = self._tasks[request_id] = asyncio.ensure_future(self._deliver(request_id))
            task.add_done_callback(lambda _: self._tasks.pop(request_id, None))

    async def _deliver(self, request_id: str) -> None:
        request = await self.requests.find(request_id)
        if request is None or not request.webhook:
            return
        tries, pause = request.webhook_tries, _FIRST
        while True:
            tries += 1
            taken = await self._send(request)
            over = time.time() > (request.ended_at or 0.0) + PATIENCE
            if taken or over:
                await self.requests.change(request_id, webhook_due=None, webhook_tries=tries)
                return
            await self.requests.change(
                request_id, webhook_due=time.time() + pause, webhook_tries=tries
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST)

    async def _send(self, request: QueuedRequest) -> bool:
        body = json.dumps(payload_of(request)).encode()
        timestamp = str(int(time.time()))
        secret = self.secret_of(request.account_id)
        headers = {
            "Content-Type": "application/json",
            "X-Fal-Webhook-Request-Id": request.id,
            "X-Fal-Webhook-User-Id": request.account_id,
            "X-Fal-Webhook-Timestamp": timestamp,
            "X-Fal-Webhook-Signature": sign(secret, timestamp, body),
        }
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=GuardedResolver(self.allowed), limit=64, force_close=True
                ),
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            self.check(request.webhook)
            async with self._session.post(
                request.webhook, data=body, headers=headers, allow_redirects=False
            ) as response:
                return 200 <= response.status < 300
        except (Invalid, OSError, asyncio.TimeoutError, aiohttp.ClientError) as error:
            logger.info("The webhook of %s was not told: %s", request.id, error)
            return False


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """
    Return the signature of *body*, sent at *timestamp*.
    """
    message = timestamp.encode() + b"." + body
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def payload_of(request: QueuedRequest) -> dict[str, Any]:
    """
    Return what a webhook is told of a request.
    """
    try:
        payload = json.loads(request.answer)
    except ValueError:
        payload = None
    failed = request.error is not None or (request.status or 500) >= 400
    told = {
        "request_id": request.id,
        "gateway_request_id": request.id,
        "status": "ERROR" if failed else "OK",
        "payload": payload,
    }
    if failed:
        told["error"] = request.error or f"Unexpected status code: {request.status}"
    if payload is None:
        told["payload_error"] = "The answer is no JSON."
    return told
