"""Pulls from registries that do not work: each is an error, soon."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
from image_builders import ImageBuilder

from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core.events import Log
from fal_env_container import Container
from fal_env_container.building import pulls
from fal_env_container.building.keys import find_or_build


@contextmanager
def registry(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Yield the name of an image of a registry that treats each connection as *answer* does."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return
                answer(taken[-1])

        threading.Thread(target=accept, daemon=True).start()
        yield f"localhost:{server.getsockname()[1]}/nobody/has:this"
        server.shutdown(socket.SHUT_RDWR)
    for each in taken:
        each.close()


def be_silent(connection: socket.socket) -> None:
    """Never answer."""


def pull(name: str, log: Callable[[Log], None], cancelled: Event) -> None:
    find_or_build(Container(image=name).request, log, cancelled)


def test_a_registry_that_does_not_answer(build: ImageBuilder, monkeypatch: pytest.MonkeyPatch):
    """A pull ends with an error once the registry has not answered for long."""
    monkeypatch.setattr(pulls, "ANSWERS_WITHIN", 0.5)
    with registry(be_silent) as name, pytest.raises(EnvironmentBuildError) as caught:
        pull(name, print, Event())
    assert caught.value.reason == (
        f"There is no image {name!r} here, and podman cannot pull it: the registry has not "
        "answered within 0.5 s."
    )


def test_a_registry_that_fails_is_asked_once(build: ImageBuilder):
    """The engine does not try again and again, which would look as if the call hung."""
    asked: list[socket.socket] = []

    def hang_up(connection: socket.socket) -> None:
        asked.append(connection)
        connection.close()

    with (
        registry(hang_up) as name,
        pytest.raises(EnvironmentBuildError, match="cannot pull it"),
    ):
        pull(name, print, Event())
    assert len(asked) == 1


def test_a_pull_that_nobody_waits_for_ends(build: ImageBuilder):
    """A pull that is cancelled ends, whether or not the registry has answered."""
    cancelled = Event()
    with registry(be_silent) as name, pytest.raises(Cancelled):
        pull(name, lambda line: cancelled.set(), cancelled)


def test_who_waits_for_a_pull_that_fails_takes_its_error(build: ImageBuilder):
    """Of many calls that need an image which cannot be pulled, one asks the registry."""
    asked: list[socket.socket] = []
    waiting = threading.Semaphore(0)
    others = 7

    def hang_up(connection: socket.socket) -> None:
        asked.append(connection)
        for _ in range(others):
            waiting.acquire(timeout=60)
        connection.close()

    def hear(line: Log) -> None:
        if line.message.startswith("Waiting for"):
            waiting.release()

    errors: list[EnvironmentBuildError] = []

    def call(name: str) -> None:
        with pytest.raises(EnvironmentBuildError) as caught:
            pull(name, hear, Event())
        errors.append(caught.value)

    with registry(hang_up) as name:
        calls = [threading.Thread(target=call, args=(name,)) for _ in range(1 + others)]
        for each in calls:
            each.start()
        for each in calls:
            each.join()
    assert len(asked) == 1
    assert len({each.args for each in errors}) == 1


def test_a_name_without_a_registry_is_explained(
    build: ImageBuilder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """An engine that asks no registry for it says so in words that few understand."""
    settings = tmp_path / "registries.conf"
    settings.write_text("unqualified-search-registries = []\n")
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(settings))
    for name, whole in [("pyhton:3", "library/pyhton:3"), ("some/body:1", "some/body:1")]:
        with pytest.raises(EnvironmentBuildError) as caught:
            pull(name, print, Event())
        assert caught.value.reason == (
            f"There is no image {name!r} here, and podman cannot pull it: it asks no registry "
            "for a name without one. Correct the name, or write its registry too, as in "
            f"'docker.io/{whole}'."
        )
