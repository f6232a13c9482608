"""
Webhooks: sending responses to URLs, with retries.

Each delivery is signed, as fal's are, with a key that receivers fetch.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import attrs
from yarl import URL

from fal_server.errors import Invalid, TooMany
from fal_server.limits import Limits
from fal_server.queue.deliveries import Deliveries
from fal_server.queue.queue_room import Sender, sender_of
from fal_server.queue.webhook_addresses import GuardedResolver, Network, check_url
from fal_server.queue.webhook_bodies import make_body
from fal_server.queue.webhook_signatures import WebhookSignatures
from fal_server.state.bodies import Body
from fal_server.state.tasks import insist
from fal_server.store.kept_responses import KeptResponses
from fal_server.store.queued_requests import QueuedRequest, QueuedRequests

logger = logging.getLogger(__name__)

#: The file in the data directory with the secret that the keys of signatures follow from.
KEY = "webhooks.key"

#: Seconds over which the attempts of a delivery are spread.
PATIENCE = 2 * 3600.0


@attrs.frozen
class _Due:
    """A request whose webhook is to be delivered, and the response to it."""

    request: QueuedRequest
    answer: Body


@attrs.define(eq=False)
class Webhooks:
    """
    Delivers responses to webhooks.

    Arguments:
        signatures: Signs what is delivered.

        allowed: Networks that webhooks may reach in addition to public addresses.

        patience: Seconds over which the attempts are spread before a delivery is given up.
            Only the pauses count, not the time by the clock. The attempts of an earlier
            server count as well.

        pause: Seconds before the second attempt. The pause doubles before each further
            attempt, up to *longest*.

        timeout: Seconds that one attempt may take.

        most: How many webhooks of an account may be waiting for their delivery.

        observe: Called after each attempt with its outcome: ``taken``, ``failed`` or
            ``given up``.
    """

    requests: QueuedRequests
    responses: KeptResponses
    signatures: WebhookSignatures
    allowed: Sequence[Network] = ()
    patience: float = PATIENCE
    pause: float = 1.0
    longest: float = 600.0
    timeout: float = 15.0
    most: int = Limits().most_webhooks
    observe: Callable[[str], None] = lambda _: None
    _session: aiohttp.ClientSession | None = None
    _deliveries: Deliveries[_Due] = attrs.field(init=False)
    _checking: asyncio.Lock = attrs.field(factory=asyncio.Lock)

    def __attrs_post_init__(self) -> None:
        self._deliveries = Deliveries(self._find, _host_of, self._send)

    async def start(self) -> None:
        """Resume the deliveries that an earlier server left."""
        now = self.requests.database.now()
        for row in await self.requests.webhooks_due():
            # A clock that was set must not delay it for longer than any pause.
            pause = min(row.webhook_due - now, self.longest)
            self._deliveries.add(row.id, sender_of(row.sender, row.account_id), pause)

    async def close(self) -> None:
        """Stop all deliveries. The next server resumes them."""
        await self._deliveries.close()
        if self._session is not None:
            await self._session.close()

    def check(self, url: str) -> str:
        """
        Return *url* if it may be a webhook.

        Raises:
            Invalid: It may not.
        """
        check_url(url, self.allowed)
        return url

    def pause_after(self, tries: int) -> float | None:
        """Return the seconds to wait after so many *tries*, or None to give up."""
        waited = 0.0
        for number in range(tries):
            pause = min(self.pause * 2.0**number, self.longest)
            waited += pause
        return None if waited > self.patience else pause

    def check_room(self, account: str, owner: str) -> None:
        """
        Check that a request may have a webhook which *account* sends to an application of
        *owner*.

        Raises:
            TooMany: Too many of its webhooks are still to be delivered.
        """
        count = self._deliveries.count(sender_of(account, owner))
        if count >= self.most:
            whose = "of your account" if account else "of requests without a key"
            raise TooMany(
                f"{count} webhooks {whose} are still to be delivered, of at most {self.most}. "
                "Try again when some of them have been accepted."
            )

    def deliver(self, request_id: str, sender: Sender) -> None:
        """Start delivering the response to a request, unless that has started already."""
        self._deliveries.add(request_id, sender)

    async def _find(self, request_id: str) -> _Due | None:
        request, answer = await insist(lambda: self.responses.find(request_id))
        if request is None or not request.webhook or request.webhook_due is None:
            return None
        return _Due(request, answer)

    async def _send(self, due: _Due) -> float | None:
        """
        Send a webhook once, and return the seconds before the next attempt. None if it was
        delivered or is given up.
        """
        request = due.request
        try:
            error = await self._post(request, due.answer)
        except Exception as unknown:
            # The message may contain the URL.
            error = type(unknown).__name__
            logger.error("Sending the webhook of request %s failed: %s", request.id, error)
        tries = request.webhook_tries + 1
        pause = None if error is None else self.pause_after(tries)
        again = None if pause is None else self.requests.database.now() + pause
        changes: dict[str, Any] = {"webhook_due": again, "webhook_tries": tries}
        await insist(functools.partial(self.requests.change, request.id, **changes))
        if error is None:
            self.observe("taken")
            logger.info("Delivered the webhook of request %s.", request.id)
        elif pause is None:
            self.observe("given up")
            logger.warning(
                "Giving up the webhook of request %s after %d attempts: %s",
                request.id,
                tries,
                error,
            )
        else:
            self.observe("failed")
            logger.info("Could not deliver the webhook of request %s: %s", request.id, error)
        return pause

    async def _post(self, request: QueuedRequest, answer: Body) -> str | None:
        """Send a webhook, and return why it was not delivered. None if it was."""
        body = await make_body(request, answer, self._checking)
        timestamp = int(time.time())
        signature = self.signatures.sign(
            request.id, request.account_id, timestamp, await body.digest()
        )
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(body.size),
            "X-Fal-Webhook-Request-Id": request.id,
            "X-Fal-Webhook-User-Id": request.account_id,
            "X-Fal-Webhook-Timestamp": str(timestamp),
            "X-Fal-Webhook-Signature": signature,
        }
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=GuardedResolver(self.allowed), limit=0, force_close=True
                ),
                timeout=aiohttp.ClientTimeout(total=self.timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            self.check(request.webhook)
            async with self._session.post(
                request.webhook, data=body.pieces(), headers=headers, allow_redirects=False
            ) as response:
                if 200 <= response.status < 300:
                    return None
                return f"It responded with {response.status}."
        except asyncio.TimeoutError:
            return f"It did not respond within {self.timeout:g} seconds."
        except (Invalid, OSError, ValueError, aiohttp.ClientError) as error:
            # Other errors quote the URL, which may contain a secret.
            return str(error) if isinstance(error, Invalid) else type(error).__name__


def _host_of(due: _Due) -> str:
    """Return the host and the port of a webhook."""
    try:
        return URL(due.request.webhook).authority
    except ValueError:
        # It was stored by a version that accepted more. It is refused when it is sent.
        return ""
