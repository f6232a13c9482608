"""The router: which application a URL names, and who may use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from isolate_proto import controller_pb2 as wire
from multidict import CIMultiDict
from yarl import URL

from fal_server.access.identities import REQUESTS
from fal_server.errors import Forbidden, NotFound, Unauthenticated
from fal_server.routing.applications import Application
from fal_server.routing.revision_pools import make_closed_pool
from fal_server.routing.routers import Router, split_path


@pytest.fixture
def router(plane: Any, account: str) -> Iterator[Router]:
    """A router that knows an application of each mode."""
    catalog = plane.plane.catalog

    def add() -> None:
        for name, mode in (
            ("private", wire.PRIVATE),
            ("shared", wire.SHARED),
            ("public", wire.PUBLIC),
            ("ä b", wire.PUBLIC),
        ):
            application = Application(
                owner=account,
                owner_name="owner",
                alias=name,
                auth_mode=mode,
                pool=make_closed_pool(),
                ephemeral=True,
            )
            catalog.add_ephemeral(application)

    plane.here(add)
    yield plane.plane.queue.router
    plane.here(catalog.applications.clear)


@pytest.mark.parametrize(
    ("url", "alias", "rest"),
    [
        ("/owner/public", "public", "/"),
        ("/owner/public/", "public", "/"),
        ("/owner/public/a%2Fb//c?x=%41&y=", "public", "/a%2Fb//c?x=%41&y="),
        ("/owner/%C3%A4%20b/a", "ä b", "/a"),
        ("/owner/public?fal_jwt_token=t&a=1&fal_webhook=w&&a=2", "public", "/?a=1&a=2"),
        ("/owner/public?fal_webhook=w", "public", "/"),
        ("/owner/public?x_fal_webhook=w", "public", "/?x_fal_webhook=w"),
        ("/owner/public?fal%5Fjwt_token=t&a=%5F&%66al_webhook=w", "public", "/?a=%5F"),
    ],
)
def test_target_of_a_url(router: Router, url: str, alias: str, rest: str):
    """
    The rest of a URL reaches the application as it was encoded, without the parameters of
    the gateways.
    """
    target = router.find(URL(url, encoded=True))
    assert target.application.alias == alias
    assert target.path_and_query == rest


@pytest.mark.parametrize(
    "url", ["/", "/owner", "/owner/", "//public", "/owner/none", "/x/public"]
)
def test_url_of_no_application(router: Router, url: str):
    """A URL that names no application is not found."""
    with pytest.raises(NotFound):
        router.find(URL(url, encoded=True))


@pytest.mark.parametrize(
    ("name", "nobody", "stranger"),
    [
        ("public", None, "stranger"),
        ("shared", Unauthenticated, "stranger"),
        ("private", Unauthenticated, NotFound),
    ],
)
def test_who_may_use_an_application(plane, router, request, name, nobody, stranger):
    """
    A public application is for all, a shared one for those with a key, and a private one
    for its owner, others do not learn that it is there. A wrong key is refused everywhere.
    """
    application = router.find(URL(f"/owner/{name}")).application
    nickname = f"stranger-{name}"
    key = plane.add_user(nickname)

    def admit(shown: str) -> Any:
        headers = CIMultiDict({"Authorization": shown} if shown else {})
        try:
            caller = plane.run(router.admit(application, headers))
        except (NotFound, Unauthenticated) as error:
            return type(error)
        return caller and caller.nickname

    assert admit("") is nobody
    assert admit(f"Key {key}") == (nickname if stranger == "stranger" else stranger)
    assert admit(f"Key {plane.key}") == "owner"
    assert admit("Key a:b") is Unauthenticated


def test_permission_that_is_needed(plane, router):
    """
    The key for an application needs the permission for what is done, unless the
    application is public.
    """
    key = plane.make_key(policy_preset="READONLY")
    headers = CIMultiDict({"Authorization": f"Key {key}"})
    private, public = (
        router.find(URL(f"/owner/{name}")).application for name in ("private", "public")
    )
    with pytest.raises(Forbidden, match="send requests to applications"):
        plane.run(router.admit(private, headers))
    assert plane.run(router.admit(private, headers, "models:requests:read")).nickname == "owner"
    assert plane.run(router.admit(public, headers)).nickname == "owner"


@pytest.mark.parametrize("name", ["private", "shared", "public"])
def test_token_is_for_the_applications_that_it_names(plane, router, account, name):
    """A token is refused by all applications that it does not name."""
    application = router.find(URL(f"/owner/{name}")).application
    key = plane.key.partition(":")[0]
    for apps, is_for_it in (
        ({account: ["other", name]}, True),
        ({account: ["other"]}, False),
        ({"user|other": [name]}, False),
    ):
        token = plane.plane.identity.tokens.make(
            REQUESTS, account, key=key, seconds=60, apps=apps
        )
        admitted = router.admit(application, CIMultiDict({"Authorization": f"Bearer {token}"}))
        if is_for_it:
            assert plane.run(admitted).user_id == account
        else:
            with pytest.raises(Forbidden, match="not valid for this application"):
                plane.run(admitted)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/workflows/owner/a%20b", ("owner", "workflow-a b", "/")),
        ("/workflows/o/name/requests/1", ("o", "workflow-name", "/requests/1")),
        ("/workflows/owner/name//x/", ("owner", "workflow-name", "//x/")),
        ("/workflows/app", ("workflows", "app", "/")),
        ("/workflows//name", ("", "workflow-name", "/")),
        ("/owner/workflows/x", ("owner", "workflows", "/x")),
        ("/", ("", "", "/")),
        ("", ("", "", "/")),
    ],
)
def test_paths_of_workflows(path: str, names: tuple[str, str, str]):
    """A workflow is an application behind a path of three names."""
    assert split_path(path) == names
