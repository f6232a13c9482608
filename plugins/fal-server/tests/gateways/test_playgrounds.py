"""Playgrounds of deployed applications, served by the gateway while nothing runs."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from google.protobuf.struct_pb2 import Struct
from isolate_proto import RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire

from fal_server.gateways import descriptions

pytest.importorskip("fal_serve", reason="The page comes with fal-serve.")

PATIENCE = 60

DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "Shown", "version": "1", "description": "It shows things."},
    "paths": {
        "/hold": {"post": {"operationId": "hold", "responses": {}}},
        "/docs": {"get": {"operationId": "own", "responses": {}}},
    },
}


def documented(request: RegisterApplicationRequest) -> None:
    request.metadata.update({"openapi": DOCUMENT})


@pytest.fixture(scope="module")
def shown(served_plane: Any) -> Any:
    """A private application, and a public one, neither of which has a runner."""
    for name, mode in (("closed", wire.PRIVATE), ("open", wire.PUBLIC)):
        served_plane.deploy(name, auth_mode=mode, change=documented, keep_alive=0)
    with served_plane.client("run", "") as client:
        client.headers.pop("Authorization", None)
        yield client


def runners_of(served_plane: Any) -> list[Any]:
    plane = served_plane.plane
    applications = plane.plane.catalog.applications.values()
    return plane.here(lambda: [runner for each in applications for runner in each.runners])


def key_of(served_plane: Any, key: str = "") -> dict[str, str]:
    return {"Authorization": f"Key {key or served_plane.plane.key}"}


def link_of(served_plane: Any, name: str, headers: dict[str, str]) -> httpx.Response:
    """Ask the API for the URL with which the page of an application opens signed in."""
    with served_plane.plane.client() as api:
        api.headers.update(headers)
        answer: httpx.Response = api.post("/dashboard/playground", json={"application": name})
        return answer


def bearer_of(link: httpx.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {link.json()['url'].partition('#fal-token=')[2]}"}


def test_page_of_a_private_application_tells_nothing(shown: httpx.Client, served_plane: Any):
    """
    The page needs no key, and shows nothing of an application that is not open to everybody,
    whoever asks.
    """
    pages = [
        shown.get("/owner/closed/playground", headers=headers)
        for headers in ({}, key_of(served_plane))
    ]

    assert {each.status_code for each in pages} == {200}
    assert len({each.text for each in pages}) == 1
    assert "It shows things" not in pages[0].text
    assert shown.get("/owner/neither/playground").status_code == 404


def test_page_of_a_public_application_comes_with_its_document(
    shown: httpx.Client, served_plane: Any
):
    """
    The document and the state of an application that is open to everybody come with its page,
    as text that a browser does not run, and with another tag where they are others.
    """
    ends = {**DOCUMENT, "info": {"title": "a</script><script>alert()</script><!--"}}
    served_plane.deploy(
        "ends",
        auth_mode=wire.PUBLIC,
        change=lambda request: request.metadata.update({"openapi": ends}),
        keep_alive=0,
    )
    # The runner of the deployment would change the state.
    served_plane.settle(lambda: not runners_of(served_plane))
    tags = set()
    for name, document in (("open", DOCUMENT), ("ends", ends)):
        page = shown.get(f"/owner/{name}/playground")
        found = dict(re.findall(r'id="sent-(\w+)">([^<]*)</script>', page.text))
        assert json.loads(found["document"]) == document
        state = shown.get(f"/owner/{name}/playground/state").json()
        assert json.loads(found["state"]) == state
        tags.add(page.headers["etag"])
    assert "alert()</script>" not in page.text
    tags.add(shown.get("/owner/closed/playground").headers["etag"])
    assert len(tags) == 3


def test_page_is_sent_compressed(shown: httpx.Client):
    """The page is sent compressed to who takes that, and not again while it is the same."""
    packed = shown.get("/owner/open/playground")
    plain = shown.get("/owner/open/playground", headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.text == plain.text
    assert int(packed.headers["content-length"]) * 3 < int(plain.headers["content-length"])
    assert packed.headers["vary"] == plain.headers["vary"] == "accept-encoding"
    known = {"If-None-Match": packed.headers["etag"]}
    assert shown.get("/owner/open/playground", headers=known).status_code == 304


def test_queue_is_all_that_the_page_may_reach_beside_it(shown: httpx.Client):
    """
    The page may send requests to its own origin and to the queue, at the host by which the
    browser names the server; what is no host adds nothing.
    """
    port = shown.base_url.port
    policy = shown.get("/owner/open/playground").headers["content-security-policy"]
    assert "connect-src 'self' http://127.0.0.1:" in policy

    named = shown.get("/owner/open/playground", headers={"Host": f"box.local:{port}"})
    assert "connect-src 'self' http://box.local:" in named.headers["content-security-policy"]
    odd = shown.get("/owner/open/playground", headers={"Host": "a; script-src *"})
    assert "script-src *" not in odd.headers.get("content-security-policy", "")


def test_document_and_state_of_a_private_application_need_its_owner(
    shown: httpx.Client, served_plane: Any
):
    """Nothing is told of a private application without a key, nor to another account."""
    other = key_of(served_plane, served_plane.plane.add_user("other"))
    for path in ("openapi.json", "playground/state"):
        assert shown.get(f"/owner/closed/{path}").status_code == 401
        assert shown.get(f"/owner/closed/{path}", headers=other).status_code == 404
        assert (
            shown.get(f"/owner/closed/{path}", headers=key_of(served_plane)).status_code == 200
        )
    for name in ("closed", "owner/closed"):
        assert link_of(served_plane, name, other).status_code == 404


def test_nothing_runs_for_a_page(shown: httpx.Client, served_plane: Any):
    """The page, the document and the state start no runner."""
    served_plane.settle(lambda: not runners_of(served_plane))

    assert shown.get("/owner/open/playground").status_code == 200
    assert shown.get("/owner/open/openapi.json").json() == DOCUMENT
    state = shown.get("/owner/open/playground/state").json()

    assert state["runners"] == {}
    assert not state["needs_key"]
    assert state["queue"].endswith("/owner/open")
    assert runners_of(served_plane) == []


def test_token_of_a_page_is_for_its_application_alone(shown: httpx.Client, served_plane: Any):
    """
    The API exchanges a key for a token that sends requests to the application and reads what
    became of them, and does nothing else.
    """
    served_plane.deploy("beside", change=documented, keep_alive=0)
    bearer = bearer_of(link_of(served_plane, "closed", key_of(served_plane)))

    assert shown.get("/owner/closed/openapi.json", headers=bearer).json() == DOCUMENT
    assert shown.get("/owner/beside/openapi.json", headers=bearer).status_code == 403
    assert link_of(served_plane, "closed", bearer).status_code == 403
    with served_plane.plane.client() as api:
        api.headers.update(bearer)
        assert api.get("/users/current").status_code == 403
    with served_plane.client() as queue:
        queue.headers.update(bearer)
        submitted = queue.post("/owner/closed/text").json()["request_id"]
        told = queue.get(f"/owner/closed/requests/{submitted}/status")
        assert told.status_code in (200, 202)


def test_key_that_may_only_read_gets_no_token_that_submits(
    shown: httpx.Client, served_plane: Any
):
    """A token may do nothing that the key may not which it was exchanged for."""
    key = served_plane.plane.make_key(policy_preset="READONLY")
    link = link_of(served_plane, "closed", key_of(served_plane, key))

    assert link.status_code == 403


def test_shared_application_of_another_account_is_tried(shown: httpx.Client, served_plane: Any):
    """Whoever may use an application of another account gets a token for it by its full name."""
    served_plane.deploy("lent", auth_mode=wire.SHARED, change=documented, keep_alive=0)
    guest = key_of(served_plane, served_plane.plane.add_user("guest"))
    bearer = bearer_of(link_of(served_plane, "owner/lent", guest))

    assert shown.get("/owner/lent/openapi.json", headers=bearer).json() == DOCUMENT
    assert shown.get("/owner/closed/openapi.json", headers=bearer).status_code == 404


def test_no_key_is_exchanged_at_the_origin_of_applications(
    shown: httpx.Client, served_plane: Any
):
    """What is sent there under the path of a playground is a request to the application."""
    answer = shown.post(
        "/owner/closed/playground/session", headers=key_of(served_plane), timeout=PATIENCE
    )

    assert "token" not in answer.text


def test_root_leads_browsers_to_the_page(shown: httpx.Client):
    """A browser that opens an application is led to its playground; a page of its own stays."""
    browser = {"Accept": "text/html,*/*"}
    led = shown.get("/owner/open/", headers=browser)
    assert (led.status_code, led.headers["location"]) == (307, "/owner/open/playground")
    assert shown.get("/owner/open", headers=browser).status_code == 307
    # The application answers, which knows POST alone.
    assert shown.get("/owner/open/", timeout=PATIENCE).status_code == 501
    assert shown.get("/owner/open/docs", headers=browser, timeout=PATIENCE).status_code == 501


def test_application_without_a_document_answers_itself(shown: httpx.Client, served_plane: Any):
    """What a gateway knows no document of has no page here."""
    served_plane.deploy("bare", auth_mode=wire.PUBLIC, keep_alive=0)
    answer = shown.get("/owner/bare/playground", timeout=PATIENCE)

    assert answer.status_code == 501


def test_lines_of_a_start_are_for_the_owner(shown: httpx.Client, served_plane: Any):
    """While a runner starts, its phase is told to all, and what it prints to the owner."""
    folder = str(served_plane.folder)

    def slow(*, exposed_port: int) -> None:
        import http.server
        import pathlib
        import time

        print("it is being set up", flush=True)
        # Until the test lets it go on.
        while not (pathlib.Path(folder) / "may start").exists():
            time.sleep(0.01)
        handler = http.server.SimpleHTTPRequestHandler
        http.server.HTTPServer(("127.0.0.1", exposed_port), handler).serve_forever()

    served_plane.deploy(
        "slow", auth_mode=wire.PUBLIC, change=documented, function=slow, attach=False
    )
    try:

        def state(**headers: str) -> dict[str, Any]:
            path = "/owner/slow/playground/state"
            return dict(shown.get(path, headers=headers).json())

        def lines() -> str:
            return json.dumps(state(**key_of(served_plane)).get("lines", []))

        served_plane.settle(lambda: "it is being set up" in lines())
        told = state()
        assert told["phase"] == "setup"
        assert "lines" not in told
    finally:
        (served_plane.folder / "may start").touch()
    served_plane.settle(lambda: state()["runners"] == {"idle": 1})


def test_document_is_read_once_beside_the_event_loop(
    shown: httpx.Client, served_plane: Any, monkeypatch: pytest.MonkeyPatch
):
    """However many ask for a page, its document is read once, and nothing waits for that."""
    readers = []
    read = descriptions.describe

    def describe(*arguments: Any) -> Any:
        readers.append(threading.get_ident())
        return read(*arguments)

    monkeypatch.setattr(descriptions, "describe", describe)
    large = {**DOCUMENT, "x-long": "x" * (descriptions.LARGEST - 2000)}
    served_plane.deploy(
        "large",
        auth_mode=wire.PUBLIC,
        change=lambda request: request.metadata.update({"openapi": large}),
        keep_alive=0,
    )
    with ThreadPoolExecutor(4) as askers:
        pages = list(askers.map(lambda _: shown.get("/owner/large/playground"), range(8)))

    assert {each.status_code for each in pages} == {200}
    # It is not sent with each page.
    assert max(len(each.content) for each in pages) < len(json.dumps(large))
    assert shown.get("/owner/large/openapi.json").json() == large
    assert len(readers) == 1
    assert readers != [served_plane.plane.here(threading.get_ident)]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"x-long": "x" * descriptions.LARGEST}, "is larger than 1 MiB"),
        ({"x-number": float("nan")}, "such as NaN"),
    ],
)
def test_document_that_no_page_is_made_of(
    shown: httpx.Client, served_plane: Any, more: dict[str, Any], told: str
):
    """
    The page of a document that is too large, or is not JSON, says so; the other paths are
    the application's.
    """
    served_plane.deploy(
        "odd",
        auth_mode=wire.PUBLIC,
        change=lambda request: request.metadata.update({"openapi": {**DOCUMENT, **more}}),
        keep_alive=0,
    )
    page = shown.get("/owner/odd/playground")

    assert page.status_code == 404
    assert told in page.json()["detail"]
    assert shown.get("/owner/odd/openapi.json", timeout=PATIENCE).status_code == 501


@pytest.mark.parametrize(
    ("routes", "own"),
    [
        (["/"], {"/"}),
        (["/docs", "/other"], {"/docs"}),
        (["/playground", "/openapi.json"], {"/playground", "/openapi.json"}),
        # What is mounted, and routes with a parameter, leave the page where it is.
        (["/{path:path}"], {"/", "/docs", "/redoc", "/playground/"}),
        (["/{name}"], {"/docs", "/redoc"}),
        (["/do{name}"], {"/docs"}),
        (["/static/{path:path}", "/{number:int}", "/{one}/{two}", "/docs{more}"], set()),
        (["/" * 70_000, "/"], set()),
    ],
)
def test_pages_of_an_application_are_its_own(routes: list[str], own: set[str]):
    """
    The routes with which a revision is registered tell what pages it has, which its document
    need not have.
    """
    metadata = Struct()
    metadata.update({"openapi": {"paths": {}}, "own_pages": routes})

    assert descriptions.describe(metadata).own == own
    metadata.update({"openapi": {"x-long": "x" * descriptions.LARGEST}})
    assert descriptions.describe(metadata).own == own
