"""
Webhooks: sending responses to URLs, with retries.

Each delivery is signed: ``X-Fal-Webhook-Signature`` is the HMAC-SHA256, in hexadecimal,
of the timestamp in ``X-Fal-Webhook-Timestamp``, a dot and the body. Its key is the secret
of the application's owner, which ``fal-core server webhook-secret`` prints.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import attrs
from yarl import URL

from fal_server.errors import Invalid
from fal_server.queue.webhook_addresses import GuardedResolver, Network, is_address, may_reach
from fal_server.state.tasks import insist
from fal_server.store.queued_requests import QueuedRequest, QueuedRequests

logger = logging.getLogger(__name__)

#: The file in the data directory with the key from which secrets are derived.
KEY = "webhooks.key"

#: Seconds over which the attempts of a delivery are spread.
PATIENCE = 2 * 3600.0

#: The most connections at once, in total and to one host, so that a host that does not
#: respond does not hold up the webhooks of others.
_MOST_CONNECTIONS, _MOST_PER_HOST = 1024, 16

_LONGEST_URL = 2048


@attrs.define(eq=False)
class Webhooks:
    """
    Delivers responses to webhooks.

    Arguments:
        key: The key from which the secrets of accounts are derived.

        allowed: Networks that webhooks may reach in addition to public addresses.

        patience: Seconds over which the attempts are spread before a delivery is given up.
            Only the pauses count, not the time by the clock. The attempts of an earlier
            server count as well.

        pause: Seconds before the second attempt. The pause doubles before each further
            attempt, up to *longest*.

        timeout: Seconds that one attempt may take.

        observe: Called after each attempt with its outcome: ``taken``, ``failed`` or
            ``given up``.
    """

    requests: QueuedRequests
    key: bytes = attrs.field(repr=False)
    allowed: Sequence[Network] = ()
    patience: float = PATIENCE
    pause: float = 1.0
    longest: float = 600.0
    timeout: float = 15.0
    observe: Callable[[str], None] = lambda _: None
    _session: aiohttp.ClientSession | None = None
    _tasks: dict[str, asyncio.Task[None]] = attrs.field(factory=dict)

    async def start(self) -> None:
        """
        Resume the deliveries that an earlier server left.
        """
        for request_id, _ in await self.requests.webhooks_due():
            self.deliver(request_id)

    async def close(self) -> None:
        """
        Stop all deliveries. The next server resumes them.
        """
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def secret_of(self, account_id: str) -> str:
        """
        Return the secret that signs the webhooks of an account.
        """
        return secret_of(self.key, account_id)

    def check(self, url: str) -> str:
        """
        Return *url* if it may be a webhook.

        Raises:
            Invalid: It may not.
        """
        if len(url) > _LONGEST_URL:
            raise Invalid(f"A webhook URL must have at most {_LONGEST_URL} characters.")
        try:
            # The client parses it the same way when it sends the webhook.
            parts = URL(url)
            host = parts.raw_host
        except ValueError as error:
            raise Invalid("The webhook is not a valid URL.") from error
        has_credentials = parts.raw_user is not None or parts.raw_password is not None
        if parts.scheme not in ("http", "https") or not host or has_credentials:
            raise Invalid("A webhook must be an HTTP or HTTPS URL without credentials.")
        if is_address(host) and not may_reach(host, self.allowed):
            raise Invalid("The webhook points to an address that webhooks may not reach.")
        return url

    def pause_after(self, tries: int) -> float | None:
        """
        Return the seconds to wait after so many *tries*, or None to give up.
        """
        waited = 0.0
        for number in range(tries):
            pause = min(self.pause * 2.0**number, self.longest)
            waited += pause
        return None if waited > self.patience else pause

    def deliver(self, request_id: str) -> None:
        """
        Start delivering the response to a request, unless that has started already.
        """
        if request_id not in self._tasks:
            task = asyncio.ensure_future(self._deliver_with_retries(request_id))
            self._tasks[request_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(request_id, None))

    async def _deliver_with_retries(self, request_id: str) -> None:
        pause: float | None = 0.0
        while pause is not None:
            await asyncio.sleep(pause)
            request = await insist(lambda: self.requests.find(request_id))
            if request is None or not request.webhook:
                return
            delivered = await self._send(request)
            tries = request.webhook_tries + 1
            pause = None if delivered else self.pause_after(tries)
            due = None if pause is None else time.time() + pause
            changes: dict[str, Any] = {"webhook_due": due, "webhook_tries": tries}
            self.observe("taken" if delivered else "given up" if pause is None else "failed")
            await insist(functools.partial(self.requests.change, request_id, **changes))
            if due is None and not delivered:
                logger.warning("Giving up the webhook of request %s.", request_id)
            # The response may be large, and the pause long.
            del request

    async def _send(self, request: QueuedRequest) -> bool:
        body = body_of(request)
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
                    resolver=GuardedResolver(self.allowed),
                    limit=_MOST_CONNECTIONS,
                    limit_per_host=_MOST_PER_HOST,
                    force_close=True,
                ),
                timeout=aiohttp.ClientTimeout(total=self.timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            self.check(request.webhook)
            async with self._session.post(
                request.webhook, data=body, headers=headers, allow_redirects=False
            ) as response:
                return 200 <= response.status < 300
        except (
            Invalid,
            OSError,
            ValueError,
            asyncio.TimeoutError,
            aiohttp.ClientError,
        ) as error:
            # Other errors quote the URL, which may contain a secret.
            why = error if isinstance(error, Invalid) else type(error).__name__
            logger.info("Could not deliver the webhook of request %s: %s", request.id, why)
            return False


def secret_of(key: bytes, account_id: str) -> str:
    """
    Return the secret that signs the webhooks of an account.
    """
    return hmac.new(key, account_id.encode(), hashlib.sha256).hexdigest()


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """
    Return the signature of *body*, sent at *timestamp*.
    """
    message = timestamp.encode() + b"." + body
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def body_of(request: QueuedRequest) -> bytes:
    """
    Return the body of the webhook of a request.
    """
    try:
        payload = json.loads(request.answer)
        return json.dumps(_describe(request, payload)).encode()
    except (ValueError, RecursionError):
        # It is not JSON, or is nested too deeply to be read or written.
        return json.dumps(_describe(request, None)).encode()


def _describe(request: QueuedRequest, payload: Any) -> dict[str, Any]:
    failed = request.error is not None or (request.status or 500) >= 400
    body = {
        "request_id": request.id,
        "gateway_request_id": request.id,
        "status": "ERROR" if failed else "OK",
        "payload": payload,
    }
    if failed:
        body["error"] = request.error or f"Unexpected status code: {request.status}"
    if payload is None:
        body["payload_error"] = "The response is not JSON."
    return body
