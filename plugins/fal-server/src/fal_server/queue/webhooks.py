"""
Webhooks: telling a url of an answer, until it has taken it.

What is sent is signed: ``X-Fal-Webhook-Signature`` is the HMAC-SHA256, in hexadecimal,
of the timestamp in ``X-Fal-Webhook-Timestamp``, a dot and the body, under a secret of
the application's owner, which ``fal-core server webhook-secret`` prints.
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

#: The file of the data directory that secrets are made from.
KEY = "webhooks.key"

#: Seconds over which the tries of a webhook are spread.
PATIENCE = 2 * 3600.0

#: How many webhooks are told at once, in all and by one host: one that does not answer
#: keeps none of another waiting.
_AT_ONCE, _AT_ONCE_OF_ONE = 1024, 16

_LONGEST_URL = 2048


@attrs.define(eq=False)
class Webhooks:
    """
    Tells urls of answers.

    Arguments:
        key: What the secrets of accounts are made of.

        allowed: Networks that may be reached beside the public ones.

        patience: Seconds over which tries are spread; what was not taken by then is
            given up. They are counted by the pauses, whatever a clock says, and go on
            where an earlier server has ended.

        pause: Seconds before the second try; before each further one it is twice as
            long, up to *longest*.

        timeout: Seconds that one try may take.

        observe: Called after each try with how it ended: ``taken``, ``failed``, or
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
        return secret_of(self.key, account_id)

    def check(self, url: str) -> str:
        """
        Return *url*, if it can be a webhook.

        Raises:
            Invalid: It cannot.
        """
        if len(url) > _LONGEST_URL:
            raise Invalid(f"The url of a webhook has at most {_LONGEST_URL} characters.")
        try:
            # It is read as it will be when it is told.
            parts = URL(url)
            host = parts.raw_host
        except ValueError as error:
            raise Invalid("The webhook is no url.") from error
        named = parts.raw_user is not None or parts.raw_password is not None
        if parts.scheme not in ("http", "https") or not host or named:
            raise Invalid("A webhook is a url of http or https.")
        if is_address(host) and not may_reach(host, self.allowed):
            raise Invalid("The webhook leads to an address that may not be reached.")
        return url

    def pause_after(self, tries: int) -> float | None:
        """
        Return how long to wait after so many tries, None where it is given up.
        """
        waited = 0.0
        for number in range(tries):
            pause = min(self.pause * 2.0**number, self.longest)
            waited += pause
        return None if waited > self.patience else pause

    def tell(self, request_id: str) -> None:
        """
        Tell the webhook of a request of its answer.
        """
        if request_id not in self._tasks:
            task = self._tasks[request_id] = asyncio.ensure_future(self._deliver(request_id))
            task.add_done_callback(lambda _: self._tasks.pop(request_id, None))

    async def _deliver(self, request_id: str) -> None:
        pause: float | None = 0.0
        while pause is not None:
            await asyncio.sleep(pause)
            request = await insist(lambda: self.requests.find(request_id))
            if request is None or not request.webhook:
                return
            taken = await self._send(request)
            tries = request.webhook_tries + 1
            pause = None if taken else self.pause_after(tries)
            due = None if pause is None else time.time() + pause
            told: dict[str, Any] = {"webhook_due": due, "webhook_tries": tries}
            self.observe("taken" if taken else "given up" if pause is None else "failed")
            await insist(functools.partial(self.requests.change, request_id, **told))
            if due is None and not taken:
                logger.warning("The webhook of %s is given up.", request_id)
            # An answer may be large, and the pause long.
            del request

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
                    resolver=GuardedResolver(self.allowed),
                    limit=_AT_ONCE,
                    limit_per_host=_AT_ONCE_OF_ONE,
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
            logger.info("The webhook of %s was not told: %s", request.id, error)
            return False


def secret_of(key: bytes, account_id: str) -> str:
    """
    Return what the webhooks of an account are signed with.
    """
    return hmac.new(key, account_id.encode(), hashlib.sha256).hexdigest()


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
