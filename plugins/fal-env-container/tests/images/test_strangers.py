"""
What images and options of strangers may not ask for.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from fal_core.errors import OptionError
from fal_env_container import Container, ContainerImage


def untrusted(image: str | ContainerImage, **options: object) -> Container:
    return Container(image=image, trusted=False, **options)  # type: ignore[arg-type]  # of several types


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
        "ARG BUILD_TAG=1\n"
        "ARG TARGET_TAG=${BUILD_TAG}\n"
        "FROM ${registry:-docker.io/library}/python:3.12-slim AS builder\n"
        "RUN --mount=type=cache,target=/root/.cache --mount=type=secret,id=token true\n"
        "FROM localhost:5000/base-$TARGETARCH:${TARGET_TAG:-2}\n"
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


@pytest.mark.parametrize(
    "step",
    [
        'RUN --netw"or"k=host true',
        'RUN --network=ho"st" true',
        "RUN --net\\work=host true",
        'RUN --mount=type=bind,"from=oci:/x",target=/x true',
        'RUN echo "a <<#EOF b"\nRUN --network=host true\n#EOF',
        "RUN true <<#A&B\n#A&B\nRUN --network=host true\n#A",
        "RUN \x0b--network=host true",
        "ONBUILD RUN --network=host true",
        "ONBUILD COPY --from=oci:/x / /",
        "ONBUILD RUN --mount=from=oci:/x true",
    ],
)
def test_steps_are_read_as_builders_read_them(step: str):
    """
    Quotes, escapes, heredocs that are none, odd white space and ``ONBUILD`` hide no step.
    """
    with pytest.raises(OptionError):
        untrusted(ContainerImage(f"FROM a\n{step}\n"))


@pytest.mark.parametrize(
    "text",
    [
        "# escape=`\nFROM a\nRUN --mount=type=bind,\\\nfrom=oci:/x,target=/x true",
        "# a=1\n# escape=`\nFROM a",
        "#syntax=other/frontend\nFROM a",
        "ARG A=oci:/xy\nARG B=${A%y}\nFROM $B",
        "FROM ${TARGETVARIANT:+oci:/x}",
        "ARG A=$TARGETVARIANT\nFROM ${A:+oci:/x}",
        "ARG A=x\nFROM ${A:-${B}}",
        "FROM a\nfrom=oci:/x true",
    ],
)
def test_what_depends_on_the_builder_is_refused(text: str):
    """
    Names of images that nobody knows beforehand, other ways to read a Dockerfile, and what is
    no instruction.
    """
    with pytest.raises(OptionError):
        untrusted(ContainerImage(text))


def test_another_reader_of_dockerfiles_is_refused():
    """
    BuildKit lets an image of a registry read the Dockerfile, by an argument too.
    """
    with pytest.raises(OptionError, match="BUILDKIT_SYNTAX"):
        untrusted(ContainerImage("FROM a", build_args={"BUILDKIT_SYNTAX": "other/frontend"}))
    text = "# syntax=docker/dockerfile:1\nFROM a\nRUN <<EOF\nfrom os import path\nEOF\n"
    assert not untrusted(ContainerImage(text)).trusted


@pytest.mark.parametrize(
    "form", ["-r {}", "{}", "file://{}", "git+file://{}", "git+ssh://a/{}"]
)
def test_requirements_are_no_files_of_the_machine(form: str, tmp_path: Path):
    """
    uv, which runs outside of the container, reads nothing of the machine for a stranger, and
    fetches nothing with the keys of its user.
    """
    file = tmp_path / "tool-1.0-py3-none-any.whl"
    file.write_text("private")
    entry = form.format(file)
    with pytest.raises(OptionError, match="is a file of the machine, or has to be built"):
        untrusted("python:3", requirements=[entry])
    assert Container(image="python:3", requirements=[entry]).requirements
    wheel = "tool @ https://example.org/tool-1.0-py3-none-any.whl"
    assert untrusted("python:3", requirements=["httpx>=0.28", wheel]).requirements
