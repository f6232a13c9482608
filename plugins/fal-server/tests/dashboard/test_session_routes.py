"""Signing in to the dashboard: links that are opened once, and keys."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from fal_server.access.permissions import PRESETS
from fal_server.access.sign_ins import make_link
from fal_server.commands.open_command import open_dashboard
from fal_server.store.keys import LINK, LINK_SECONDS, SESSION_SECONDS, delete_ended, keys


@pytest.fixture
def browser(plane: Any) -> Iterator[httpx.Client]:
    """A client without a key."""
    with plane.client() as client:
        client.headers.pop("Authorization")
        yield client


@pytest.fixture
def code(plane: Any, account: str) -> str:
    """The code of a link for the owner."""

    def make(connection: Any) -> str:
        return make_link(connection, account, PRESETS["FULL"])

    return str(plane.run(plane.plane.database.write(make)))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_link_signs_in_once(browser: httpx.Client, code: str):
    """The code of a link is exchanged for a token once, and never again."""
    token = browser.post("/dashboard/sessions", json={"code": code}).json()["token"]
    session = browser.get("/dashboard/session", headers=bearer(token))

    assert session.json()["account"] == "owner"
    assert session.json()["permissions"] == sorted(PRESETS["FULL"])
    again = browser.post("/dashboard/sessions", json={"code": code})
    assert again.status_code == 401
    assert "was opened before" in again.json()["detail"]


def test_code_is_no_key(browser: httpx.Client, code: str):
    """The code of a link opens a session, and nothing else: neither before nor after that."""
    id, _, word = code.partition(":")
    shown = [f"Key {id}:{secret}" for secret in (word, f"link:{word}", f"link${word}", "")]

    def statuses() -> set[int]:
        return {
            browser.get("/users/current", headers={"Authorization": each}).status_code
            for each in shown
        }

    assert statuses() == {401}
    browser.post("/dashboard/sessions", json={"code": code})
    assert statuses() == {401}


def test_key_is_no_code(browser: httpx.Client, plane: Any):
    """No key opens a session as a link, and none can have the note of one."""
    made = browser.post("/dashboard/sessions", json={"code": plane.make_key()})
    assert made.status_code == 401
    with pytest.raises(Exception, match=f"cannot have the note '{LINK}'"):
        plane.make_key(alias=LINK)


def test_session_that_is_over(browser: httpx.Client, code: str, plane: Any):
    """
    The key of a session is good for as long as the session lasts, also for tokens that last
    longer, and is deleted after that.
    """
    id, identity = code.partition(":")[0], plane.plane.identity
    browser.post("/dashboard/sessions", json={"code": code})
    old = keys.c.created_at - SESSION_SECONDS - 1
    chosen = keys.update().where(keys.c.id == id).values(created_at=old)
    plane.run(plane.plane.database.write(lambda connection: connection.execute(chosen)))

    assert not plane.run(identity.is_valid(id))
    plane.run(plane.plane.database.write(delete_ended))
    with plane.client() as client:
        assert id not in {each["id"] for each in client.get("/dashboard/keys").json()["keys"]}


def test_link_that_is_too_old(browser: httpx.Client, code: str, plane: Any):
    """A link that nobody has opened in time signs nobody in."""
    old = keys.c.created_at - LINK_SECONDS - 1
    chosen = keys.update().where(keys.c.id == code.partition(":")[0]).values(created_at=old)
    plane.run(plane.plane.database.write(lambda connection: connection.execute(chosen)))

    assert browser.post("/dashboard/sessions", json={"code": code}).status_code == 401


@pytest.mark.parametrize("code", ["", "x", "x:y", "\0:\ud800", ":", "a" * 301])
def test_codes_of_strangers(browser: httpx.Client, code: str):
    """What is no code is refused in a sentence."""
    body = f'{{"code": "{code}"}}'.encode("utf-8", "replace")
    answer = browser.post("/dashboard/sessions", content=body)

    assert answer.status_code in (400, 401, 422)
    assert answer.json()["detail"]


def test_signing_out_ends_the_session_of_a_link(browser: httpx.Client, code: str):
    """The token of a link ends as it signs out."""
    token = browser.post("/dashboard/sessions", json={"code": code}).json()["token"]
    assert browser.delete("/dashboard/session", headers=bearer(token)).status_code == 200

    assert browser.get("/dashboard/session", headers=bearer(token)).status_code == 401


def test_session_begins_no_other(browser: httpx.Client, code: str, plane: Any):
    """
    A session lasts as long as it lasts: neither that of a link nor that of a key is exchanged
    for a new one.
    """
    shown = {"Authorization": f"Key {plane.make_key(policy_preset='FULL')}"}
    for token in (
        browser.post("/dashboard/sessions", json={"code": code}).json()["token"],
        browser.post("/dashboard/session", headers=shown).json()["token"],
    ):
        refused = browser.post("/dashboard/session", headers=bearer(token))
        assert refused.status_code == 403
        assert "Sign in with a key" in refused.json()["detail"]


def test_key_signs_in_with_what_it_may(browser: httpx.Client, plane: Any):
    """
    A key is exchanged for a token that may do what the key may, and that leaves the key as it
    is when it signs out.
    """
    key = plane.make_key(policy_preset="READONLY")
    shown = {"Authorization": f"Key {key}"}
    token = browser.post("/dashboard/session", headers=shown).json()["token"]
    session = browser.get("/dashboard/session", headers=bearer(token)).json()

    assert session["permissions"] == sorted(PRESETS["READONLY"])
    browser.delete("/dashboard/session", headers=bearer(token))
    assert browser.get("/users/current", headers=shown).status_code == 200


def test_nothing_is_told_without_a_key(browser: httpx.Client):
    """The pages hold nothing, and every other route of the dashboard asks for a key."""
    page = browser.get("/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for method, path in (
        ("GET", "/dashboard/session"),
        ("GET", "/dashboard/live"),
        ("GET", "/dashboard/requests"),
        ("GET", "/dashboard/keys"),
        ("GET", "/dashboard/machines"),
        ("GET", "/dashboard/applications/a/measurements"),
        ("POST", "/dashboard/KillRunner"),
        ("POST", "/dashboard/playground"),
    ):
        assert browser.request(method, path).status_code == 401, path


def test_page_is_read_once(browser: httpx.Client):
    """The page is sent compressed, and not again while it is the same. It has no other files."""
    page = browser.get("/")
    assert page.headers["content-encoding"] == "gzip"
    assert "accept-encoding" in page.headers["vary"].lower()
    again = browser.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert again.status_code == 304
    plain = browser.get("/", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == page.text
    for name in ("main.js", "pages.py", "..%2Fpages.py"):
        assert browser.get(f"/dashboard/files/{name}").status_code in (404, 501)


def test_uses_of_keys_are_noted(plane: Any, settle: Callable[..., None]):
    """When a key was used is stored after a while."""
    key = plane.make_key(policy_preset="READONLY")
    with plane.client() as client:

        def used() -> Any:
            found = client.get("/dashboard/keys").json()["keys"]
            return {each["id"]: each["used_at"] for each in found}[key.partition(":")[0]]

        assert used() is None
        with plane.client(key) as other:
            other.get("/users/current")
        plane.run(plane.plane.identity.store_uses())
        assert used() is not None


def test_key_that_makes_keys_makes_links(browser: httpx.Client, plane: Any):
    """
    A key that may create keys makes a link, whose session may do what the key may; other keys
    and tokens make none.
    """
    shown = {"Authorization": f"Key {plane.make_key(policy_preset='FULL')}"}
    code = browser.post("/dashboard/links", headers=shown).json()["code"]
    token = browser.post("/dashboard/sessions", json={"code": code}).json()["token"]
    session = browser.get("/dashboard/session", headers=bearer(token)).json()
    assert session["permissions"] == sorted(PRESETS["FULL"])
    assert browser.post("/dashboard/links", headers=bearer(token)).status_code == 403
    other = {"Authorization": f"Key {plane.make_key(policy_preset='READONLY')}"}
    assert browser.post("/dashboard/links", headers=other).status_code == 403


def test_command_opens_the_server_of_the_variables(browser: httpx.Client, plane: Any):
    """``server open`` takes the server and the key that the variables of clients name."""
    variables = {
        "FAL_REST_HOST": browser.base_url.netloc.decode(),
        "ISOLATE_TEST_MODE": "1",
        "FAL_KEY": plane.make_key(policy_preset="FULL"),
        "NO_PROXY": "127.0.0.1",
    }
    done = CliRunner().invoke(open_dashboard, ["--no-browser", "--json"], env=variables)
    base, _, code = json.loads(done.stdout)["url"].partition("/#code=")
    assert base == f"http://{variables['FAL_REST_HOST']}"
    assert browser.post("/dashboard/sessions", json={"code": code}).status_code == 200

    refused = CliRunner().invoke(open_dashboard, [], env={**variables, "FAL_KEY": "a:b"})
    assert (refused.exit_code, "refuses FAL_KEY" in refused.stderr) == (1, True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"127.0.0.1:{listener.getsockname()[1]}"
    gone = CliRunner().invoke(open_dashboard, [], env={**variables, "FAL_REST_HOST": closed})
    assert (gone.exit_code, "gives no link" in gone.stderr) == (1, True)
