"""Deliveries: which webhooks are sent at once, and which wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from queued import make_request

from fal_server.queue import deliveries
from fal_server.queue.deliveries import MOST, MOST_OF_ONE, MOST_TO_HOST, Deliveries
from fal_server.store.queued_requests import QueuedRequest

ME, YOU = ("user|2", ""), ("user|3", "")


class Hosts:
    """
    Hosts that receive webhooks when the test lets them.

    Attributes:
        sent: The requests whose webhooks are under way, or were.

        pauses: What follows the next attempts of a request: a pause, None for a success, or an
            error.
    """

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.under_way = 0
        self.most = 0
        self.pauses: dict[str, list[Any]] = {}
        self.opened = asyncio.Event()
        self.silent: set[str] = set()
        self.deliveries: Deliveries[QueuedRequest] = Deliveries(
            self.find, self.host_of, self.send
        )

    async def find(self, id: str) -> QueuedRequest | None:
        if id.startswith("gone"):
            return None
        return make_request(id, webhook=id.partition("-")[0])

    def host_of(self, request: QueuedRequest) -> str:
        return request.webhook

    async def send(self, request: QueuedRequest) -> float | None:
        self.sent.append(request.id)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if request.webhook in self.silent:
                await self.opened.wait()
            await asyncio.sleep(0)
            pauses = self.pauses.get(request.id)
            outcome = pauses.pop(0) if pauses else None
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        finally:
            self.under_way -= 1

    async def settle(self, check: Callable[[], bool]) -> None:
        while not check():
            # The tasks go on meanwhile.
            await asyncio.sleep(0.001)


def run(work: Callable[[Hosts], Any]) -> None:
    async def main() -> None:
        hosts = Hosts()
        try:
            await asyncio.wait_for(work(hosts), 60)
        finally:
            await hosts.deliveries.close()

    asyncio.run(main())


def test_silent_hosts_hold_up_no_others():
    """
    Of the webhooks of one account to a host that does not respond, some are under way; those
    to other hosts and of other accounts are sent meanwhile, and all others later.
    """

    async def work(hosts: Hosts) -> None:
        hosts.silent = {"silent"}
        for number in range(3 * MOST_TO_HOST):
            hosts.deliveries.add(f"silent-{number}", ME)
        await hosts.settle(lambda: hosts.under_way == MOST_TO_HOST)
        hosts.deliveries.add("other", ME)
        hosts.deliveries.add("silent-yours", YOU)
        await hosts.settle(lambda: {"other", "silent-yours"} <= {*hosts.sent})
        assert hosts.deliveries.count(ME) == 3 * MOST_TO_HOST
        hosts.opened.set()
        await hosts.settle(lambda: not hosts.deliveries.count(ME) + hosts.deliveries.count(YOU))
        assert len(hosts.sent) == len({*hosts.sent}) == 3 * MOST_TO_HOST + 2
        # One to another host, and one of another account.
        assert hosts.most <= MOST_TO_HOST + 2

    run(work)


def test_so_many_are_under_way():
    """
    An account has so many webhooks under way, whatever their hosts, and all accounts together
    have so many.
    """

    async def work(hosts: Hosts) -> None:
        accounts = [(f"user|{number}", "") for number in range(MOST // MOST_OF_ONE + 2)]
        hosts.silent = {f"h{number}" for number in range(2 * MOST_OF_ONE)}
        for number in range(2 * MOST_OF_ONE):
            hosts.deliveries.add(f"h{number}-{accounts[0]}", accounts[0])
        await hosts.settle(lambda: hosts.under_way == MOST_OF_ONE)
        for account in accounts[1:]:
            for number in range(MOST_OF_ONE):
                hosts.deliveries.add(f"h{number}-{account}", account)
        await hosts.settle(lambda: hosts.under_way == MOST)
        hosts.opened.set()
        await hosts.settle(lambda: not any(map(hosts.deliveries.count, accounts)))
        assert len(hosts.sent) == (len(accounts) + 1) * MOST_OF_ONE
        assert hosts.most == MOST

    run(work)


def test_webhook_is_sent_again_when_it_is_due(monkeypatch: pytest.MonkeyPatch):
    """
    A webhook waits for its time, and counts until it is delivered or given up. One that the
    server itself could not send is sent again.
    """
    monkeypatch.setattr(deliveries, "_REPAIR", 0.01)

    async def work(hosts: Hosts) -> None:
        hosts.pauses = {"a": [0.01, 0.02], "b": [RuntimeError("It is broken.")]}
        hosts.deliveries.add("later", ME, 3600.0)
        for id in ("a", "b", "a", "gone"):
            hosts.deliveries.add(id, ME)
        await hosts.settle(lambda: hosts.deliveries.count(ME) == 1)
        assert sorted(hosts.sent) == ["a", "a", "a", "b", "b"]
        # It is not forgotten, and is not sent before its time.
        hosts.deliveries.add("later", ME)
        await asyncio.sleep(0)
        assert (hosts.deliveries.count(ME), "later" in hosts.sent) == (1, False)

    run(work)
