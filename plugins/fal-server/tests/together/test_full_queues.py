"""Full queues: what a server accepts, and what it says where there is no room."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from isolate_proto import controller_pb2 as wire

from fal_server.limits import Limits

LIMITS = Limits(
    most_queued=6,
    most_queued_by_account=8,
    largest_queue=1_000_000,
    largest_queued_body=600_000,
    largest_queued_response=200_000,
    most_webhooks=2,
)

#: A body of which a queue takes three.
LARGE = b'{"text": "' + b"x" * 300_000 + b'"}'


@pytest.fixture(scope="module")
def limited(
    tmp_path_factory: pytest.TempPathFactory, served: Any, planes: Any, programs: Any
) -> Iterator[Any]:
    """A control plane with low limits, with applications whose runner a request occupies."""
    root = tmp_path_factory.mktemp("limited")
    (root / "folder").mkdir()

    def start() -> Any:
        return planes.Plane(root / "data", limits=LIMITS, webhook_networks=("127.0.0.2/32",))

    standing = served.ServedPlane(root / "folder", start)
    yield standing
    standing.plane.close()
    programs.end_runners(root / "data")


@pytest.fixture
def occupied(limited: Any, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Two public applications, of which the runners are occupied until the test ends."""
    names = [f"{request.node.originalname[5:].replace('_', '-')}-{end}" for end in "ab"]
    held = {}
    for name in names:
        limited.deploy(name, auth_mode=wire.PUBLIC)
        held[name] = limited.submit(f"{name}/hold", {"gate": name})
        limited.begin(name, held[name])
    yield names
    for name, each in held.items():
        limited.open(name)
        limited.finish(name, each)


def fill(limited: Any, path: str, *, body: bytes = b"{}", key: str | None = None) -> Any:
    """
    Submit requests until one is refused; return the ids of the accepted ones, and the
    refusal.
    """
    accepted: list[str] = []
    with limited.client(key=key) as client:
        while len(accepted) < 100:
            answer = client.post(f"/owner/{path}", content=body)
            if answer.status_code != 200:
                return accepted, answer
            accepted.append(answer.json()["request_id"])
    raise AssertionError("There is room without end.")


def check_refusal(answer: httpx.Response, *words: str) -> None:
    """Check that a refusal is told as released clients understand it, and why."""
    assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (429, True)
    for word in (*words, "Try again when some of them have been answered."):
        assert word in answer.json()["detail"], answer.text


def test_application_has_so_many_requests(limited: Any, occupied: list[str]):
    """
    A request beyond the limit of its application is refused, while others have room, and
    each that is answered or cancelled makes room. So it is after a restart.
    """
    first, second = occupied
    accepted, refused = fill(limited, first)
    limited.submit(second)
    # The runner has one.
    assert len(accepted) == LIMITS.most_queued - 1
    check_refusal(refused, f"The queue of owner/{first}", "of at most 6")
    with limited.client() as client:
        cancelled = accepted.pop()
        client.put(f"/owner/{first}/requests/{cancelled}/cancel")
    limited.settle(lambda: limited.find(cancelled).is_over)
    accepted.append(limited.submit(first))
    limited.restart()
    _, refused = fill(limited, first)
    check_refusal(refused, "of at most 6")
    limited.open(first)
    for each in accepted:
        assert limited.finish(first, each).status_code == 200
    assert limited.finish(first, limited.submit(first)).status_code == 200


def test_account_has_so_many_requests(limited: Any, occupied: list[str]):
    """
    A request beyond the limit of its account is refused whatever application it is for,
    while those of other accounts have room.
    """
    first, second = occupied
    accepted = [limited.submit(first) for _ in range(4)]
    others, refused = fill(limited, second)
    assert len(accepted) + len(others) + 2 == LIMITS.most_queued_by_account
    check_refusal(refused, "The queue of your account", "of at most 8")
    eve = limited.plane.add_user("eve")
    limited.submit(first, key=eve)


def test_requests_without_a_key_leave_room(limited: Any, occupied: list[str]):
    """
    Those who have no key fill half of the queue of an application, so that those who have
    one are not refused.
    """
    first, _ = occupied
    accepted, refused = fill(limited, first, key="")
    assert len(accepted) == LIMITS.most_queued // 2 - 1
    check_refusal(refused, "of at most 3")
    limited.submit(first)


def test_application_has_so_many_bytes(limited: Any, occupied: list[str]):
    """
    A body beyond the room of its application is refused, whether its size is known before
    or not, and leaves nothing behind.
    """
    first, _ = occupied
    accepted, refused = fill(limited, first, body=LARGE)
    assert len(accepted) == 3
    check_refusal(refused, f"The queue of owner/{first}", "more than 1000000")
    with limited.client() as client:
        parts = iter([LARGE[:1000], LARGE[1000:]])
        check_refusal(client.post(f"/owner/{first}", content=parts), "more than 1000000")
        # What is small has room.
        assert client.post(f"/owner/{first}", content=b"{}").status_code == 200
    folder = limited.plane.settings.data / "requests"
    limited.settle(lambda: len(list(folder.iterdir())) == len(accepted))
    limited.open(first)
    for each in accepted:
        limited.finish(first, each)
    limited.settle(lambda: not list(folder.iterdir()))


def test_response_that_is_too_large(limited: Any, occupied: list[str]):
    """A response over the limit is not kept: the request fails, with a sentence."""
    first, _ = occupied
    limited.open(first)
    request = limited.submit(first, {"text": "x" * 300_000})
    answer = limited.finish(first, request)
    assert (answer.status_code, answer.json()["error_type"]) == (502, "response_too_large")
    assert "more than the 200000 bytes" in answer.json()["detail"]
    # It is not asked for again.
    assert limited.status(first, request).json()["attempts"] == 1


def test_account_has_so_many_webhooks(limited: Any, occupied: list[str]):
    """
    A request is refused whose account has many webhooks that nobody has accepted yet;
    without a webhook it is accepted.
    """
    first, _ = occupied
    limited.open(first)
    # Nobody listens there.
    webhook = quote("http://127.0.0.2:9/", safe="")
    for _ in range(LIMITS.most_webhooks):
        limited.finish(first, limited.submit(f"{first}?fal_webhook={webhook}"))
    with limited.client() as client:
        refused = client.post(f"/owner/{first}?fal_webhook={webhook}", json={})
        assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
        assert "2 webhooks of your account" in refused.json()["detail"]
        assert client.post(f"/owner/{first}", json={}).status_code == 200


def test_many_requests_are_flushed(limited: Any, occupied: list[str]):
    """Requests that are dropped make room."""
    first, _ = occupied
    accepted, _ = fill(limited, first)
    with limited.plane.client() as client:
        assert client.delete(f"/applications/owner/{first}/queue").status_code == 200
    assert all(limited.find(each).state == "cancelled" for each in accepted)
    again, _ = fill(limited, first)
    assert len(again) == len(accepted)


#: Submits a request by the released client, and notes each refusal.
CLIENT = """
import json, logging, pathlib
import fal_client

class Refusals(logging.Handler):
    def emit(self, record):
        if " 429 " in record.getMessage():
            pathlib.Path(REFUSED).touch()

logger = logging.getLogger("httpx")
logger.setLevel(logging.INFO)
logger.addHandler(Refusals())
print(json.dumps(fal_client.submit("owner/full", {"name": "late"}).get()))
"""


def test_released_client_waits_for_room(
    make_standing: Any, clients: Any, tmp_path_factory: pytest.TempPathFactory
):
    """
    The released client takes a full queue for what it is, and submits its request once there
    is room.
    """
    root = tmp_path_factory.mktemp("full")
    standing = make_standing(root, "--most-queued", "1")
    standing.deploy("full")
    held = standing.submit("full/hold", {"gate": "full"})
    refused = root / "refused"
    with ThreadPoolExecutor(1) as threads:
        try:
            client = threads.submit(
                clients.python,
                CLIENT.replace("REFUSED", repr(str(refused))),
                variables=standing.plane.variables,
            )
            standing.settle(lambda: refused.exists() or client.done())
            assert refused.exists(), client.result()
        finally:
            standing.open("full")
        assert client.result()["told"] == {"name": "late"}
    assert standing.finish("full", held).status_code == 200
