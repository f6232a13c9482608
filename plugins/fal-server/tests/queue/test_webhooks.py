"""Webhooks: responses that are delivered to URLs."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import attrs
import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fal_server.queue.webhook_signatures import WebhookSignatures
from fal_server.queue.webhooks import PATIENCE, Webhooks

#: An address that webhooks may reach in the tests, and one that they may not.
ALLOWED, FORBIDDEN = "127.0.0.2", "127.0.0.1"


@attrs.define
class Delivery:
    """One request to a receiver."""

    path: str
    headers: dict[str, str]
    body: bytes
    time: float


class Receiver:
    """
    An HTTP server that receives webhooks.

    Attributes:
        deliveries: The requests that it got.

        statuses: The statuses of its next responses; 200 once they are used up. None sends
            no response while the test runs.

        location: The URL that its responses redirect to.
    """

    def __init__(self, host: str) -> None:
        self.deliveries: list[Delivery] = []
        self.statuses: list[int | None] = []
        self.location = ""
        self.ended = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.deliveries.append(Delivery(self.path, headers, body, time.monotonic()))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                if status is None:
                    receiver.ended.wait()
                    return
                self.send_response(status)
                self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((host, 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def url(self) -> str:
        host, port = self.server.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(each.body) for each in self.deliveries]

    def close(self) -> None:
        self.ended.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def make_receiver():
    """Start receivers that are closed at the end of the test."""
    made = []

    def make(host: str = ALLOWED) -> Receiver:
        made.append(Receiver(host))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def webhooks(served_plane):
    """
    Change the settings of the server's webhooks until the test ends, and close their
    connections.
    """
    changed: dict[str, Any] = {}

    def change(**values: Any) -> None:
        found = served_plane.plane.plane.queue.webhooks
        for name, value in values.items():
            changed.setdefault(name, getattr(found, name))
            setattr(found, name, value)
        found._session, session = None, found._session
        if session is not None:
            served_plane.plane.run(session.close())

    yield change
    change(**changed)


def submit(served_plane, path: str, webhook: str, body: Any = None) -> str:
    return served_plane.submit(f"{path}?fal_webhook={quote(webhook, safe='')}", body)


def is_settled(served_plane, request: str) -> bool:
    """Return whether the webhook of *request* was delivered or given up."""
    found = served_plane.find(request)
    return found.is_over and found.webhook_due is None


def is_genuine(keys: Any, delivery: Delivery) -> bool:
    """Return whether a webhook passes the steps that fal tells its receivers."""
    headers = delivery.headers
    if abs(time.time() - int(headers["x-fal-webhook-timestamp"])) > 300:
        return False
    lines = [
        headers[f"x-fal-webhook-{name}"] for name in ("request-id", "user-id", "timestamp")
    ]
    message = "\n".join((*lines, hashlib.sha256(delivery.body).hexdigest())).encode()
    signature = bytes.fromhex(headers["x-fal-webhook-signature"])
    for key in keys["keys"]:
        public = base64.urlsafe_b64decode(key["x"] + "=" * (-len(key["x"]) % 4))
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        except InvalidSignature:
            continue
        return True
    return False


def fetch_keys(served_plane) -> Any:
    """Return what receivers fetch, without a key of theirs."""
    response = httpx.get(f"http://{served_plane.plane.address}/.well-known/jwks.json")
    assert response.status_code == 200
    return response.json()


def test_webhook_is_delivered_and_signed(served_plane, app, make_receiver):
    """
    A webhook gets the response, signed with a key that anybody may fetch: neither the body nor
    a header that is signed can be another one.
    """
    receiver = make_receiver()
    request = submit(served_plane, app, f"{receiver.url}/told?a=%20b", {"n": 1})
    served_plane.settle(lambda: is_settled(served_plane, request))
    (delivery,) = receiver.deliveries
    assert delivery.path == "/told?a=%20b"
    (body,) = receiver.bodies
    assert (body["request_id"], body["gateway_request_id"]) == (request, request)
    assert (body["status"], body["payload"]["told"]) == ("OK", {"n": 1})
    assert "fal_webhook" not in body["payload"]["path"]
    keys = fetch_keys(served_plane)
    assert all((key["kty"], key["crv"]) == ("OKP", "Ed25519") for key in keys["keys"])
    assert is_genuine(keys, delivery)
    assert delivery.headers["x-fal-webhook-request-id"] == request
    assert delivery.headers["x-fal-webhook-user-id"] == served_plane.find(request).account_id
    assert not is_genuine(keys, attrs.evolve(delivery, body=delivery.body + b" "))
    for name in ("request-id", "user-id", "timestamp"):
        header = f"x-fal-webhook-{name}"
        other = "1" if name != "timestamp" else str(int(delivery.headers[header]) + 1)
        changed = attrs.evolve(delivery, headers={**delivery.headers, header: other})
        assert not is_genuine(keys, changed)


def test_webhook_of_a_large_response(served_plane, app, make_receiver):
    """A response that is in a file is delivered as it is, and signed."""
    receiver = make_receiver()
    told = {"text": "x" * (1 << 20)}
    request = submit(served_plane, app, receiver.url, told)
    served_plane.settle(lambda: is_settled(served_plane, request))
    answer = served_plane.finish(app, request)
    (delivery,) = receiver.deliveries
    assert answer.content in delivery.body
    assert receiver.bodies[0]["payload"] == answer.json()
    assert is_genuine(fetch_keys(served_plane), delivery)


def test_webhook_of_a_failed_request(served_plane, app, make_receiver):
    """A webhook says that a request failed, or that the response is not JSON."""
    receiver = make_receiver()
    for path in ("fail", "text"):
        request = submit(served_plane, f"{app}/{path}", receiver.url)
        served_plane.settle(lambda request=request: is_settled(served_plane, request))
    failed, text = receiver.bodies
    assert (failed["status"], failed["error"]) == ("ERROR", "It is wrong.")
    assert failed["payload"] == {"detail": "It is wrong."}
    assert (text["status"], text["payload"]) == ("OK", None)
    assert "payload_error" in text


def test_webhook_is_retried_until_it_is_accepted(served_plane, app, make_receiver, webhooks):
    """
    A webhook without a 2xx is sent again, each time after a longer pause. Redirects are not
    followed.
    """
    webhooks(pause=0.1)
    receiver, elsewhere = make_receiver(), make_receiver()
    receiver.statuses, receiver.location = [500, 307, 303, 204], elsewhere.url
    request = submit(served_plane, app, receiver.url)
    served_plane.settle(lambda: is_settled(served_plane, request))
    assert elsewhere.deliveries == []
    assert len({each.body for each in receiver.deliveries}) == 1
    assert served_plane.find(request).webhook_tries == len(receiver.deliveries) == 4
    times = [each.time for each in receiver.deliveries]
    for number, (first, second) in enumerate(itertools.pairwise(times)):
        assert second - first >= 0.1 * 2**number


def test_webhook_is_given_up(served_plane, app, make_receiver, webhooks, caplog):
    """A webhook that is not accepted in time is given up, with a line in the log that says why."""
    webhooks(pause=0.01, longest=0.02, patience=0.06)
    receiver = make_receiver()
    receiver.statuses = [500] * 100
    request = submit(served_plane, app, receiver.url)
    served_plane.settle(lambda: is_settled(served_plane, request))
    # After pauses of 0.01, 0.02 and 0.02, another one would exceed the patience.
    assert served_plane.find(request).webhook_tries == len(receiver.deliveries) == 4
    served_plane.settle(lambda: request in caplog.text)
    assert f"Giving up the webhook of request {request} after 4 attempts" in caplog.text
    assert "It responded with 500." in caplog.text


def test_webhooks_are_retried_for_two_hours(served_plane):
    """Pauses double from a second to ten minutes, and last two hours in total."""
    queue = served_plane.plane.plane.queue
    webhooks = Webhooks(queue.requests, queue.responses, WebhookSignatures(b""))
    pauses = []
    while (pause := webhooks.pause_after(len(pauses) + 1)) is not None:
        pauses.append(pause)
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(pauses) == 600.0
    assert PATIENCE - 600.0 < sum(pauses) <= PATIENCE == 7200.0


def test_webhook_outlives_the_server(served_plane, app, make_receiver, webhooks):
    """
    The next server retries the webhooks that were not accepted when they are due, and keeps
    counting the attempts.
    """
    webhooks(pause=0.5)
    receiver = make_receiver()
    receiver.statuses = [503]
    request = submit(served_plane, app, receiver.url)
    served_plane.settle(lambda: served_plane.find(request).webhook_tries == 1)
    served_plane.restart()
    served_plane.settle(lambda: is_settled(served_plane, request))
    assert served_plane.find(request).webhook_tries == 2
    assert receiver.bodies[0] == receiver.bodies[1]


def test_webhook_that_never_answers_holds_up_nothing(
    served_plane, app, make_receiver, webhooks
):
    """A webhook that does not respond delays neither the queue nor other webhooks."""
    webhooks(timeout=3600.0)
    silent, receiver = make_receiver(), make_receiver()
    silent.statuses = [None] * 100
    requests = [submit(served_plane, app, silent.url) for _ in range(70)]
    assert served_plane.finish(app, requests[-1]).status_code == 200
    served_plane.settle(lambda: silent.deliveries)
    other = submit(served_plane, app, receiver.url)
    served_plane.settle(lambda: is_settled(served_plane, other))
    assert len(receiver.deliveries) == 1
    assert not any(is_settled(served_plane, each) for each in requests[:2])


def test_name_that_resolves_to_a_forbidden_address(served_plane, app, make_receiver, webhooks):
    """
    A name is resolved for each attempt, and nothing is sent if it resolves to an address
    that webhooks may not reach.
    """
    webhooks(pause=0.01, patience=0.02)
    receiver = make_receiver(FORBIDDEN)
    port = receiver.server.server_address[1]
    request = submit(served_plane, app, f"http://localhost:{port}/")
    served_plane.settle(lambda: is_settled(served_plane, request))
    assert receiver.deliveries == []
    assert served_plane.find(request).webhook_tries > 1


#: URLs of this machine and of private networks, in several notations, and what are none.
FORBIDDEN_URLS = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://127.0.0.1./",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://127\u30020\u30020\u30021/",
    "http://\u2460\u2461\u2466.0.0.1/",
    "http://10.0.0.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest",
    "http://192.168.1.1:8080/",
    "http://0.0.0.0/",
    "http://224.0.0.1/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1%25lo]/",
    "http://[fc00::1]/",
    "http://[fec0::1]/",
    "http://user@example.com/",
    "http://user:word@example.com/",
    "http://:word@example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "//example.com/",
    "http:///",
    "http://[::1/",
    "http://example.com:99999/",
    f"http://example.com/{'a' * 3000}",
    "words",
]


def test_urls_that_may_not_be_webhooks(served_plane, app, check_all):
    """
    A request is refused if its webhook points to this machine or a private network, in any
    notation, or is not a valid URL.
    """

    def check(url):
        with served_plane.client() as client:
            answer = client.post(f"/owner/{app}", params={"fal_webhook": url}, json={})
        assert answer.status_code == 422, answer.text

    check_all(check, FORBIDDEN_URLS)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook",
        "http://example.com:8080/hook?a=b",
        "https://93.184.215.14/",
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
        "https://[64:ff9b::5db8:d70e]/",
        "https://b\u00fccher.example/",
        "https://1password.example/",
    ],
)
def test_urls_that_may_be_webhooks(served_plane, url):
    """Names and public addresses may be webhooks."""
    queue = served_plane.plane.plane.queue
    webhooks = Webhooks(queue.requests, queue.responses, WebhookSignatures(b""))
    assert webhooks.check(url) == url
