"""Secrets and logins of released clients with which their images are built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import BASE, engine_for_servers

pytestmark = pytest.mark.faults

SECRET = "hidden-in-a-build"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, clients: Any) -> Iterator[str]:
    """
    The name of an image that only a registry has, which asks for a password, and which the
    engine of the server of this module reaches. For each of the clients it is another
    engine, that has no image yet.
    """
    with engine_for_servers(tmp_path_factory) as engine, pytest.MonkeyPatch.context() as patch:
        from private_registries import open_registry

        with open_registry(tmp_path_factory.mktemp("registry") / "registry", patch) as opened:
            yield opened.take(engine, BASE)


@pytest.fixture(scope="module")
def boxing(registry: str, make_applied: Callable[..., Any]) -> Any:
    """A server for the released clients whose machine has an engine."""
    return make_applied()


def test_secrets_of_a_build(boxing: Any):
    """
    A step sees the secrets of the image that it names. They are in no line of the builder,
    and not in the image.
    """
    text = (
        f"FROM {BASE}\\nRUN --mount=type=secret,id=TOKEN"
        " [ $(cat /run/secrets/TOKEN) = $WANTED ]"
        " && echo seen > /seen && cat /run/secrets/TOKEN"
    ).replace("$WANTED", SECRET)
    found, printed = boxing.python_and_output(
        f"""
        import json, fal
        from fal import ContainerImage

        image = ContainerImage.from_dockerfile_str(
            "{text}".replace({SECRET!r}, "hidden-" + "in-a-build"),
            secrets={{"TOKEN": {SECRET!r}}},
        )

        @fal.function(kind="container", image=image, machine_type="XS", keep_alive=0)
        def look():
            import os

            return open("/seen").read(), os.path.exists("/run/secrets/TOKEN")

        print("JSON " + json.dumps(look()))
        """
    )
    assert found == ["seen\n", False]
    assert SECRET not in printed


@pytest.mark.usefixtures("newest_clients")
def test_registry_that_asks_for_a_password(boxing: Any, registry: str):
    """
    An image of a private registry is had with the login of its client, and without one, or
    with a wrong one, the client is told that it is not. No message has a password.
    """
    address = registry.partition("/")[0]
    refused, wrong, found = boxing.python(
        f"""
        import json, fal
        from fal import ContainerImage

        def call(password):
            login = {{"username": "reader", "password": password}}
            image = ContainerImage.from_dockerfile_str(
                "FROM {registry}\\nRUN echo had > /had",
                registries={{"{address}": login}} if password else {{}},
            )

            @fal.function(kind="container", image=image, machine_type="XS", keep_alive=0)
            def look():
                return open("/had").read()

            try:
                return look()
            except Exception as error:
                return str(error)

        print("JSON " + json.dumps([call(""), call("wrong-password"), call("hidden-password")]))
        """
    )
    assert "Traceback" not in refused + wrong
    assert registry in refused
    assert registry in wrong
    assert "wrong-password" not in wrong
    assert found == "had\n"
    state = b"".join(each.read_bytes() for each in Path(boxing.data).glob("state.db*"))
    assert b"hidden-password" not in state
