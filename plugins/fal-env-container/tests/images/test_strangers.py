"""
What images and options of strangers may not ask for.
"""

from __future__ import annotations

import attrs
import pytest

from fal_core.errors import OptionError
from fal_env_container import Container, ContainerImage


def untrusted(image: str | ContainerImage, **options: object) -> Container:
    return Container(image=image, trusted=False, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        *("oci-archive:/etc/image.tar", "dir:/etc", "docker-archive:a.tar", "OCI:/var:latest"),
        *("containers-storage:localhost/other", "docker-daemon:other:1", "ostree:a@/b"),
    ],
)
def test_images_come_from_registries(name: str):
    """
    A stranger's image is no file of the machine and none of another store of it, wherever a
    Dockerfile names it.
    """
    with pytest.raises(OptionError, match="not from a registry"):
        untrusted(name)
    for text in (
        f"FROM {name}",
        f"ARG base={name}\nFROM $base",
        f"FROM a\nCOPY --from={name} / /",
        f"FROM a\nRUN --mount=type=bind,from={name} true",
    ):
        with pytest.raises(OptionError, match="not from a registry"):
            untrusted(ContainerImage(text))
    given = ContainerImage("ARG base\nFROM $base", build_args={"base": name})
    with pytest.raises(OptionError, match="not from a registry"):
        untrusted(given)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("RUN --network=host true", "--network=host"),
        ("RUN --security=insecure true", "--security=insecure"),
        ("RUN --device=/dev/kvm true", "--device=/dev/kvm"),
        ("RUN --mount=type=ssh true", "of type 'ssh'"),
        ("COPY --from=$other / /", "write its name out"),
        ("RUN --mount=from=$other true", "write its name out"),
        ("FROM ${base%x}", "write its name out"),
    ],
)
def test_steps_get_nothing_of_the_machine(step: str, why: str):
    """
    No step of a stranger's build has the network, the devices or the keys of the machine.
    """
    with pytest.raises(OptionError, match=why):
        untrusted(ContainerImage(f"ARG base=a\nFROM a\n{step}\n"))


def test_usual_images_are_taken():
    """
    What users write in Dockerfiles stays possible.
    """
    text = (
        "ARG registry=docker.io/library\n"
        "FROM ${registry:-docker.io/library}/python:3.12-slim AS builder\n"
        "RUN --mount=type=cache,target=/root/.cache --mount=type=secret,id=token true\n"
        "FROM localhost:5000/oci:1\n"
        "COPY --from=builder /made /made\n"
        "RUN --network=none true\n"
    )
    assert not untrusted(ContainerImage(text)).trusted
    assert untrusted("localhost:5000/team/image:1").image == "localhost:5000/team/image:1"


@pytest.mark.parametrize(
    "options",
    [{"volumes": ("/etc:/etc",)}, {"network": "host"}, {"network": "container:other"}],
)
def test_options_show_nothing_of_the_machine(options: dict[str, object]):
    """
    Volumes, and networks of others, are refused.
    """
    with pytest.raises(OptionError, match=r"Option '(volumes|network)'"):
        untrusted("python:3", **options)


def test_strangers_share_no_worker_with_the_user():
    """
    A container that is trusted is not one of a stranger.
    """
    environment = untrusted("python:3")
    assert environment.key != attrs.evolve(environment, trusted=True).key
