"""The asynchronous client, which is the same as the other one."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import grpc
import pytest

from fal_core.errors import FalServerlessError
from fal_host_serverless import (
    AsyncServerlessClient,
    KeyScope,
    SyncServerlessClient,
    client,
    client_aio,
)


def test_asynchronous_client_sends_the_same(asking: SyncServerlessClient, recorder: Any):
    """Both clients send the same requests and return the same values."""

    async def ask() -> list[Any]:
        async with AsyncServerlessClient(host=recorder.address) as other:
            return [
                await other.apps.list(filter="app"),
                await other.apps.runners("app", state=["running"]),
                await other.apps.scale("app", keep_alive=5),
                await other.apps.rollout("app"),
                await other.runners.list(),
                await other.runners.stop("r"),
                await other.runners.kill("r"),
                await other.keys.create(scope=KeyScope.API),
                await other.keys.list(),
                await other.keys.revoke("k"),
                await other.secrets.set("a", "b"),
                await other.secrets.list(),
                await other.secrets.unset("a"),
                await other.environments.create("e"),
                await other.environments.list(),
                await other.environments.delete("e"),
            ]

    told = asyncio.run(ask())
    theirs, recorder.asked = recorder.asked, []
    assert told == [
        asking.apps.list(filter="app"),
        asking.apps.runners("app", state=["running"]),
        asking.apps.scale("app", keep_alive=5),
        asking.apps.rollout("app"),
        asking.runners.list(),
        asking.runners.stop("r"),
        asking.runners.kill("r"),
        asking.keys.create(scope=KeyScope.API),
        asking.keys.list(),
        asking.keys.revoke("k"),
        asking.secrets.set("a", "b"),
        asking.secrets.list(),
        asking.secrets.unset("a"),
        asking.environments.create("e"),
        asking.environments.list(),
        asking.environments.delete("e"),
    ]
    assert theirs == recorder.asked


def test_asynchronous_client_raises_the_same(recorder: Any):
    """Errors of the service are translated for the asynchronous client too."""
    recorder.failure = (grpc.StatusCode.NOT_FOUND, "why")

    async def ask() -> None:
        async with AsyncServerlessClient(host=recorder.address) as other:
            await other.runners.kill("r")

    with pytest.raises(FalServerlessError, match="not found: why"):
        asyncio.run(ask())


@pytest.mark.parametrize("name", ["Apps", "Runners", "Keys", "Secrets", "Environments"])
def test_clients_have_the_same_methods(name: str):
    """Both clients have the same methods with the same parameters."""

    def methods(cls: type) -> set[str]:
        found = inspect.getmembers(cls, inspect.isfunction)
        return {method for method, _ in found if not method.startswith("_")}

    one, other = getattr(client, f"{name}Namespace"), getattr(client_aio, f"Async{name}")
    assert methods(one) == methods(other)
    for method in methods(one):
        signatures = [inspect.signature(getattr(cls, method)) for cls in (one, other)]
        assert signatures[0].parameters == signatures[1].parameters, method
