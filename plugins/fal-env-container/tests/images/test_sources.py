"""What a Dockerfile reads of its context, and the images that it stands on."""

from __future__ import annotations

import pytest

from fal_core.errors import OptionError
from fal_env_container.images.sources import WHOLE, Sources, find_sources


def read(text: str, **build_args: str) -> Sources:
    return find_sources(text, build_args=build_args, platform="linux/amd64")


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        ("COPY a b /c/", ("a", "b")),
        ('COPY ["a b", "/c"]', ("a b",)),
        ("COPY --chown=1:1 --chmod=755 /a/./b ../c /d", ("a/b", "c")),
        ("COPY . /app", (WHOLE,)),
        ("COPY *.py src/**/x /app/", ("*.py", "src/**/x")),
        ("ADD https://example.com/x.tgz local.tgz /app/", ("local.tgz",)),
        ("ADD git@github.com:a/b.git /app", ()),
        ("COPY <<a.txt b /to/\ncontent\na.txt", ("b",)),
        ("COPY --from=other.io/tools:1 /bin/x /bin/x", ()),
        ("COPY --from=0 /x /x", ()),
        ("RUN --mount=type=bind,source=reqs.txt,target=/r pip install -r /r", ("reqs.txt",)),
        ("RUN --mount=type=bind,target=/all make", (WHOLE,)),
        ("RUN --mount=type=cache,target=/c --mount=type=secret,id=x true", ()),
        ("RUN --mount=type=bind,from=base,source=/x,target=/y true", ()),
        ("RUN cp a b", ()),
        ("ONBUILD COPY x /x", ()),
    ],
)
def test_paths_are_those_that_instructions_name(line: str, paths: tuple[str, ...]):
    """Only COPY, ADD and bind mounts read the context, and only without another origin."""
    assert read(f"FROM scratch AS base\n{line}\n").paths == paths


def test_variables_are_replaced():
    """Arguments have the value of the build, else their default; ENV comes before ARG."""
    text = """
    ARG VERSION=3
    ARG WHERE=top
    FROM python:$VERSION AS first
    ARG VERSION
    ARG WHERE
    ARG NAME=default
    ENV OTHER=$NAME-$VERSION PLAIN=x
    COPY $WHERE/$OTHER /to/
    FROM first
    COPY $OTHER $PLAIN /to/
    """
    found = read(text, NAME="given")
    assert found.bases == ("python:3",)
    assert found.paths == ("top/given-3", "given-3", "x")


def test_what_is_unknown_before_the_build_is_the_whole_context():
    """A variable of the base image may name any path."""
    assert read("FROM base\nCOPY $FROM_THE_BASE /x").paths == (WHOLE,)
    assert read("FROM scratch\nCOPY a$NOTHING /x").paths == ("a",)


def test_bases_are_images_of_other_origin():
    """Stages of the Dockerfile are no bases; images that it copies or mounts from are."""
    text = """
    FROM --platform=linux/amd64 one AS builder
    FROM Builder AS again
    FROM scratch
    COPY --from=builder /x /x
    COPY --from=two:2 /x /x
    RUN --mount=from=three,target=/t true
    """
    assert read(text).bases == ("one", "two:2", "three")


def test_a_dockerfile_needs_a_base():
    """A Dockerfile without FROM is refused where it is declared."""
    with pytest.raises(OptionError, match="no FROM"):
        read("RUN true")


def test_what_bases_leave_to_builds_on_them_is_read():
    """An ONBUILD counts behind the FROM that names its image or its stage, and nowhere else."""
    text = "FROM models AS a\nARG NAME=other\nONBUILD COPY $NAME /x\nFROM a\nCOPY own /x\n"
    triggers = {"models": ["ARG NAME=given", "COPY $NAME own /x", "RUN true"]}
    sources = find_sources(text, platform="linux/amd64", triggers=triggers)
    assert sources.paths == ("given", "own", "other")
    assert sources.triggered == {"given", "other"}
    assert read(text).paths == ("other", "own")
