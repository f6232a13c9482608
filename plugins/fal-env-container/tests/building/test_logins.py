"""Images of registries that ask for a password."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_builders import ImageBuilder
from private_registries import PASSWORD, USER, open_registry

from fal_core.errors import EnvironmentBuildError
from fal_env_container import Container
from fal_env_container.building.guards import remove
from fal_env_container.building.logins import login_terms, write_logins
from fal_env_container.engines import Engine


@pytest.fixture
def registry(
    build: ImageBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The name of an image that only a registry has, which asks for a password."""
    with open_registry(tmp_path / "registry", monkeypatch) as opened:
        name = opened.take(build.engine, build.base)
        yield name
        build.engine.run("untag", name, name, check=False)


def test_login_of_the_engine_is_used(build: ImageBuilder, registry: str):
    """
    An image that needs a login is pulled with the one that the engine has; without one the
    error says so.
    """
    with pytest.raises(EnvironmentBuildError, match=r"podman cannot pull it: .*auth"):
        build(Container(image=registry))
    address = registry.partition("/")[0]
    build.engine.run("login", "--username", USER, "--password", PASSWORD, address)
    build(Container(image=registry))
    assert build.engine.has(registry)
    pulled = f"Pulled the image {re.escape(registry)}, [\\d.]+ MB"
    assert any(re.fullmatch(pulled, line) for line in build.messages), build.messages


def test_login_of_a_declaration_is_used(build: ImageBuilder, registry: str):
    """
    A declaration brings logins beside those of the engine; the password is in no file that
    stays, no line and no key.
    """
    address = registry.partition("/")[0]
    login = {address: {"username": USER, "password": PASSWORD}}
    environment = build.declare(f"FROM {registry}\nRUN echo x\n", registries=login)
    build(environment)
    assert not any(PASSWORD in line for line in build.messages)
    cache = build.folder.parent / "cache"
    for path in cache.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()
    assert environment.key == build.declare(f"FROM {registry}\nRUN echo x\n").key


def test_logins_are_added_to_those_of_the_engine(
    build: ImageBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The file that the engine is given has its own logins too, and only this user can read it."""
    from fal_env_container.building.logins import write_logins
    from fal_env_container.finding import find_engine

    own = tmp_path / "own.json"
    own.write_text(json.dumps({"auths": {"a.io": {"auth": "x"}}, "HttpHeaders": {}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(own))
    registries = {"b.io": {"username": "u", "password": "p"}}
    [path] = write_logins(find_engine(), registries, str(tmp_path)).values()
    content = json.loads(Path(path).read_text())
    assert content == {"auths": {"a.io": {"auth": "x"}, "b.io": {"auth": "dTpw"}}}
    assert Path(path).stat().st_mode & 0o077 == 0
    assert write_logins(find_engine(), {}, str(tmp_path)) == {}


def test_a_stranger_has_no_logins_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    An image that is not trusted is pulled and built with the logins that it brings, and the
    engine's own are hidden from it.
    """
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"auths": {"private:1": {"auth": "hidden"}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(own))
    engine = Engine(
        name="podman", program="podman", version="5", place="here", platform="linux/amd64"
    )
    brought = {"registry:1": {"username": USER, "password": PASSWORD}}
    for trusted, registries, expected in (
        (True, brought, {"private:1", "registry:1"}),
        (False, brought, {"registry:1"}),
        (False, {}, set()),
    ):
        told = write_logins(engine, registries, str(tmp_path), trusted=trusted)
        content = json.loads(Path(told["REGISTRY_AUTH_FILE"]).read_text())
        assert set(content.get("auths", {})) == expected


def test_logins_are_terms_of_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Other logins, of a declaration or of the engine, are other terms."""
    file = tmp_path / "auth.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(file))
    engine = Engine(
        name="podman", program="podman", version="5.4.2", place="here", platform="linux/amd64"
    )
    declared = {"host": {"username": USER, "password": PASSWORD}}
    terms = [login_terms(engine, declared)]
    assert login_terms(engine, declared) == terms[0]
    terms.append(login_terms(engine, {"host": {"username": USER, "password": "other"}}))
    terms.append(login_terms(engine, {}))
    file.write_text("{}")
    terms.append(login_terms(engine, {}))
    terms.append(login_terms(engine, {}, trusted=False))
    assert len({repr(each) for each in terms}) == len(terms)


@pytest.mark.parametrize("trusted", [True, False])
def test_docker_speaks_to_the_same_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
):
    """
    The context that the user chose leads to the engine, and its builder is a plugin; both are
    beside the logins.
    """
    own, folder = tmp_path / "own", tmp_path / "build"
    (own / "contexts/meta").mkdir(parents=True)
    (own / "cli-plugins").mkdir()
    folder.mkdir()
    settings = {"auths": {"a.io": {"auth": "hidden"}}, "currentContext": "rootless"}
    (own / "config.json").write_text(json.dumps(settings))
    monkeypatch.setenv("DOCKER_CONFIG", str(own))
    engine = Engine(
        name="docker", program="docker", version="28", place="here", platform="linux/amd64"
    )
    brought = {"b.io": {"username": USER, "password": PASSWORD}}
    told = write_logins(engine, brought, str(folder), trusted=trusted)
    assert told == {"DOCKER_CONFIG": str(folder)}
    content = json.loads((folder / "config.json").read_text())
    assert content["currentContext"] == "rootless"
    assert set(content["auths"]) == ({"a.io", "b.io"} if trusted else {"b.io"})
    assert (folder / "contexts/meta").is_dir()
    remove(str(folder))
    assert (own / "contexts/meta").is_dir()
