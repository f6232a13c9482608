"""Private logs: who may see the lines of a request."""

from __future__ import annotations

import httpx
import pytest
from isolate_proto import RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire


def private(request: RegisterApplicationRequest) -> None:
    request.private_logs = True


def lines_shown(served_plane, name: str, sender: str, reader: str) -> list[str]:
    """Return the lines in the status of a request of *sender* that *reader* asks for."""
    request = served_plane.submit(f"{name}/say", {"word": "printed"}, key=sender)
    with served_plane.client(key=reader) as client:
        url = f"/owner/{name}/requests/{request}/status"
        served_plane.settle(lambda: client.get(url).status_code == 200)
        owned = f"/owner/{name}/requests/{request}/status?logs=1"
        with served_plane.client() as owner:
            served_plane.settle(lambda: owner.get(owned).json()["logs"])
        found = client.get(url, params={"logs": "1"}).json()
    return [each["message"] for each in found["logs"]]


@pytest.fixture(scope="module")
def stranger(served_plane) -> str:
    """The key of another account."""
    return str(served_plane.plane.add_user("stranger"))


def test_readers_of_private_logs(served_plane, stranger):
    """
    Everybody who may see a request is shown its log; if the application keeps its logs
    private, only its owner is, also after the server was started again.
    """
    owner = served_plane.plane.key
    served_plane.deploy("open", auth_mode=wire.PUBLIC)
    served_plane.deploy("closed", auth_mode=wire.PUBLIC, change=private)
    for reader in (owner, stranger, ""):
        assert lines_shown(served_plane, "open", reader, reader) == ["printed"]
    assert lines_shown(served_plane, "closed", owner, owner) == ["printed"]
    assert lines_shown(served_plane, "closed", stranger, owner) == ["printed"]
    served_plane.restart()
    for reader in (stranger, ""):
        assert lines_shown(served_plane, "closed", reader, reader) == []


def test_url_of_the_logs_of_an_application(served_plane):
    """The url of the logs that a deployment prints returns them, for a key of the account."""
    request = served_plane.registration("tells")
    (urls,) = [
        message.service_urls
        for message in served_plane.plane.stream("RegisterApplication", request)
        if message.HasField("result")
    ]
    served_plane.finish("tells", served_plane.submit("tells/say", {"word": "told"}))
    with served_plane.plane.client() as client:

        def lines() -> list[str]:
            answer = client.get(urls.log)
            assert answer.status_code == 200, answer.text
            return [each["message"] for each in answer.json()]

        served_plane.settle(lambda: "told" in lines())
    assert httpx.get(urls.log, trust_env=False, timeout=60).status_code == 401


def test_logs_are_private_by_release(served_plane, stranger):
    """The current release of an application decides whether its logs are private."""
    earlier = served_plane.deploy("turns", auth_mode=wire.PUBLIC, change=private)
    assert lines_shown(served_plane, "turns", stranger, stranger) == []
    served_plane.deploy("turns", auth_mode=wire.PUBLIC)
    assert lines_shown(served_plane, "turns", stranger, stranger) == ["printed"]
    served_plane.plane.call("SetAlias", wire.SetAliasRequest(alias="turns", revision=earlier))
    assert lines_shown(served_plane, "turns", stranger, stranger) == []
