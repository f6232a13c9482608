"""What images and options of strangers may not ask for."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_core.errors import OptionError
from fal_env_container import Container, ContainerImage


def untrusted(image: str | ContainerImage, **options: Any) -> Container:
    return Container(image=image, trusted=False, **options)


def naming(name: str) -> list[str]:
    """Return Dockerfiles that name an image, each in another way."""
    return [
        f"FROM {name}",
        f"ARG base={name}\nFROM $base",
        f"FROM x\nCOPY --from={name} / /",
        f"FROM x\nRUN --mount=type=bind,from={name} true",
        f"FROM x\nONBUILD COPY --from={name} / /",
        f"FROM x\nRUN <<EOF\nfrom x as {name}\nEOF\nCOPY --from={name} / /",
    ]


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
    for text in naming(name):
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
        ("ADD https://u:word@127.0.0.1/x /x", "adds 'https://.*@127.0.0.1/x'"),
        (
            "RUN true <<#A&B\n#A&B\nADD http://a/x /x\n#A",
            "in the network of the machine",
        ),
    ],
)
def test_steps_get_nothing_of_the_machine(step: str, why: str):
    """No step of a stranger's build has the network, the devices or the keys of the machine."""
    with pytest.raises(OptionError, match=why):
        untrusted(ContainerImage(f"ARG base=x\nFROM x\n{step}\n"))


def test_usual_images_are_taken():
    """What users write in Dockerfiles stays possible."""
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
        "ADD --chown=1:1 model.tar.gz other.tar.gz $HOME/\n"
        "ADD <<'EOF' /etc/made\nurl: https://a\nEOF\n"
        "RUN python3 <<EOF\nadd = lambda a: a\nEOF\n"
    )
    assert not untrusted(ContainerImage(text)).trusted
    assert untrusted("localhost:5000/team/image:1").image == "localhost:5000/team/image:1"


@pytest.mark.parametrize(
    "name",
    [
        *("3f", "7", "c0ffee", "sha256:3f9c", "-v"),
        *("localhost/fal-core:3f9c", "fal-core:3f9c", "fal-core@sha256:3f9c"),
    ],
)
def test_images_are_not_found_by_digests(name: str):
    """
    What the machine has built, for whomever, is reached by no digest, no beginning of one and
    no name of a build.
    """
    found = "found among those that the machine has built|no name of an image"
    with pytest.raises(OptionError, match=found):
        untrusted(name)
    for text in naming(name):
        with pytest.raises(OptionError, match=found):
            untrusted(ContainerImage(text))


def test_names_are_no_options_of_the_engine():
    """An engine is asked for each image by its name, and would take some names for options."""
    for flag in ("COPY --from=--format=x / /", "RUN --mount=from=--format=x true"):
        with pytest.raises(OptionError, match="Name one of a registry"):
            untrusted(ContainerImage(f"FROM x\n{flag}\n"))


def test_stages_may_have_any_name():
    """A stage is no image, whatever it is called, and neither is a line of a heredoc."""
    text = (
        "FROM x AS ab\nRUN true\nFROM ab AS c\n"
        "COPY --from=ab / /\nCOPY --from=0 / /\nRUN --mount=from=ab true\n"
        "RUN <<EOF python\nfrom abc import ABC\nEOF\n"
    )
    assert not untrusted(ContainerImage(text)).trusted


@pytest.mark.parametrize(
    "step",
    [
        "ADD http://127.0.0.1:8080/secret /",
        "ADD a https://example.org/b /",
        'ADD ["http://x", "/"]',
        "ADD --checksum=sha256:0 http://x /",
        "ADD git@example.org:a/b /",
        "ADD github.com/a/b /",
        "ADD $where /",
        "ADD ht\\tp://x /",
        'ADD ht"tp:"//x /',
        "ONBUILD ADD http://x /",
        "RUN <<A cat\nADD http://x /\nA",
    ],
)
def test_nothing_is_fetched_with_the_rights_of_the_machine(step: str):
    """The engine itself fetches nothing for a stranger: it would reach what only the machine does."""
    with pytest.raises(OptionError, match="The Dockerfile adds"):
        untrusted(ContainerImage(f"FROM x\n{step}\n"))
    files = "FROM x\nADD a.tar.gz b /here/\nADD <<EOF /there\nhttp://x\nEOF\n"
    assert not untrusted(ContainerImage(files)).trusted


@pytest.mark.parametrize(
    "options",
    [{"volumes": ("/etc:/etc",)}, {"network": "host"}, {"network": "container:other"}],
)
def test_options_show_nothing_of_the_machine(options: dict[str, object]):
    """Volumes, and networks of others, are refused."""
    with pytest.raises(OptionError, match=r"Option '(volumes|network)'"):
        untrusted("python:3", **options)


def test_strangers_share_no_worker_with_the_user():
    """A container that is trusted is not one of a stranger."""
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
    """Quotes, escapes, heredocs that are none, odd white space and ``ONBUILD`` hide no step."""
    with pytest.raises(OptionError):
        untrusted(ContainerImage(f"FROM x\n{step}\n"))


@pytest.mark.parametrize(
    "text",
    [
        "# escape=`\nFROM x\nRUN --mount=type=bind,\\\nfrom=oci:/x,target=/x true",
        "# a=1\n# escape=`\nFROM x",
        "#syntax=other/frontend\nFROM x",
        "ARG A=oci:/xy\nARG B=${A%y}\nFROM $B",
        "FROM ${TARGETVARIANT:+oci:/x}",
        "ARG A=$TARGETVARIANT\nFROM ${A:+oci:/x}",
        "ARG A=x\nFROM ${A:-${B}}",
        "FROM x\nfrom=oci:/x true",
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
    """BuildKit lets an image of a registry read the Dockerfile, by an argument too."""
    with pytest.raises(OptionError, match="BUILDKIT_SYNTAX"):
        untrusted(ContainerImage("FROM x", build_args={"BUILDKIT_SYNTAX": "other/frontend"}))
    text = "# syntax=docker/dockerfile:1\nFROM x\nRUN <<EOF\nfrom os import path\nEOF\n"
    assert not untrusted(ContainerImage(text)).trusted


@pytest.mark.parametrize(
    "form",
    ["-r {}", "{}", "file://{}", "git+file://{}", "git+ssh://a/{}", "--find-links={}"],
)
def test_requirements_are_no_files_of_the_machine(form: str, tmp_path: Path):
    """
    uv, which runs outside of the container, reads nothing of the machine for a stranger, and
    fetches nothing with the keys of its user.
    """
    file = tmp_path / "tool-1.0-py3-none-any.whl"
    file.write_text("private")
    entry = form.format(file)
    with pytest.raises(OptionError, match="is a file or a URL"):
        untrusted("python:3", requirements=[entry])
    assert Container(image="python:3", requirements=[entry]).requirements
    plain = ["--pre", "httpx[http2]>=0.28 ; python_version > '3.9'", "six", "--no-deps"]
    assert untrusted("python:3", requirements=plain).requirements


@pytest.mark.parametrize(
    "form",
    [
        *("{}", "-r {}", "-e {}", "--requirements={}", "{}[extra]", "file:{}", "tool @ {}"),
        *("tool @ file:{}", "git+file://{}@https://example.org/", "./{}", "~/{}"),
        *("[['{}'], 'tool']", "[['httpx'], ['-r {}']]"),
    ],
)
def test_strangers_do_not_learn_which_files_there_are(form: str, tmp_path: Path):
    """
    What a stranger is told of a requirement is the same whether there is such a file, and no
    file is opened, which could be a pipe that nobody writes to.
    """
    for name in ("project.py", "list.txt", "tool.whl", "folder", "none.py"):
        place = tmp_path / name
        if name == "project.py":
            os.mkfifo(place)
        elif name == "folder":
            place.mkdir()
        elif name != "none.py":
            place.touch()
        written = form.format(place)
        requirements = ast.literal_eval(written) if form.startswith("[") else [written]
        with pytest.raises(OptionError, match="is a file or a URL"):
            untrusted("python:3", requirements=requirements)


@pytest.mark.parametrize(
    "entry",
    [
        "tool @ https://example.org/${UV_INDEX_URL}/tool-1.0-py3-none-any.whl",
        "https://example.org/tool-1.0-py3-none-any.whl ; os_name == '${HOME}'",
        "tool @ http://127.0.0.1:8080/tool-1.0-py3-none-any.whl",
        "tool @ https://example.org/tool-1.0-py3-none-any.whl",
        "https://example.org/tool-1.0-py3-none-any.whl",
        "tool @ FILE:x",
        "tool @ git+ssh://git@https://example.org/tool",
        "tool @ ssh://git@https://example.org/tool",
    ],
)
def test_requirements_take_nothing_along(entry: str):
    """
    uv puts variables of this machine into URLs, those that a wheel at a URL requires too, and
    would reach services of it alone.
    """
    with pytest.raises(OptionError, match="Name a version of an index"):
        untrusted("python:3", requirements=[entry])


@pytest.mark.parametrize(
    "entry",
    [
        *("httpx", "httpx >= 0.28, <1", "web.py", "httpx[http2]==0.28.*", "pytz==1!2024.1"),
        *("numpy; python_version < '3.13'", "httpx[http2] ; os_name != 'nt'"),
    ],
)
def test_strangers_name_versions_of_an_index(entry: str):
    """Versions of an index are taken as they are written."""
    assert untrusted("python:3", requirements=[entry]).layers == ((entry,),)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("project", "."),
        ("constraints_file", "/etc/hostname"),
        ("index_url", "http://127.0.0.1:8080/simple"),
        ("extra_index_urls", ["http://127.0.0.1:8080/simple"]),
    ],
)
def test_strangers_name_no_place_that_uv_reads(option: str, value: object):
    """
    uv reads indexes, projects and constraints outside of the container. Which versions it
    takes may be said.
    """
    with pytest.raises(OptionError, match=f"'{option}' names a place that would be read"):
        untrusted("python:3", requirements=["httpx"], **{option: value})
    assert untrusted("python:3", requirements=["httpx"], exclude_newer="7 days").exclude_newer


def test_dockerfile_of_many_images():
    """A Dockerfile stands on so many images that each can be asked for."""
    text = "".join(f"FROM image{number}\n" for number in range(101))
    with pytest.raises(OptionError, match="stands on 101 images, and may stand on 100"):
        untrusted(ContainerImage(text))
    assert untrusted(ContainerImage("FROM image\n" * 101))
