"""The kind ``container`` and its options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fal_core import function
from fal_core.declaring import structure_environment, unstructure_environment
from fal_core.declaring.vocabulary import restore_environment
from fal_core.errors import OptionError
from fal_core.plugins import find_environment
from fal_env_container import Container, ContainerImage
from fal_testing import ProcessHost


def declare(**options: Any) -> Container:
    """Return the environment of a function that is declared so."""
    environment = structure_environment(function(host=ProcessHost(), **options)(len).options)
    assert isinstance(environment, Container)
    return environment


def test_kind_is_found_by_its_name():
    """The plugin registers the kind, and an image alone implies it."""
    assert find_environment("container") is Container
    assert declare(image="python:3.11").image == "python:3.11"
    image = ContainerImage.from_dockerfile_str("FROM a")
    assert declare(kind="container", image=image).image is image


def test_image_is_what_was_written(tmp_path: Path):
    """A mapping, as settings files have it, names an image or has the fields of one."""
    assert declare(image={"image": "a:1", "use_isolate": True}).image == "a:1"
    written = {"dockerfile_str": "FROM a", "build_args": {"A": "1"}, "context_dir": "/c"}
    assert declare(image=written).image == ContainerImage(**written)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (" ", "'image' is empty"),
        (3, "'image'"),
        ({"dockerfile": "x"}, "'dockerfile'"),
        ({"dockerfile_str": ""}, "Dockerfile is empty"),
        ({"dockerfile_str": "RUN true"}, "has no FROM"),
        ({"dockerfile_str": "FORM a"}, "Line 1 .* 'FORM', which .* Did you mean 'FROM'"),
        ({"dockerfile_str": "FROM a\n\nRNU true"}, "Line 3 .* 'RNU', which .* mean 'RUN'"),
        ({"dockerfile_str": "FROM a\nCOPY x \\\n  y\npip list"}, "Line 4 .* 'PIP', which"),
        ("FROM a:1\n", r"no name of an image.*from_dockerfile_str\("),
        ("Python 3.12", "no name of an image: .*lower case"),
        ("./Dockerfile", r"no name of an image.*from_dockerfile\("),
        ("Dockerfile", r"no name of an image.*from_dockerfile\("),
        ({"dockerfile_str": "FROM a\nRUN <<END\necho"}, "heredoc 'END'"),
    ],
)
def test_wrong_images_are_refused(image: Any, message: str):
    """What is no image fails where it is declared."""
    with pytest.raises(OptionError, match=message):
        declare(image=image)


def test_a_builder_of_its_own_may_know_more_instructions():
    """What the directive ``syntax`` of a Dockerfile names decides which instructions there are."""
    text = "# syntax=example.org/builder\nFROM a\nINCLUDE b"
    assert declare(image={"dockerfile_str": text}).image == ContainerImage(text)


@pytest.mark.parametrize(
    "name",
    [
        *("a", "a:B-1", "Example.org:5000/a/b_c.d--e", "a@sha256:0123", "sha256:0123"),
        *("docker://a/b:1", "oci-archive:/Some/where.tar", "0123456789ab"),
    ],
)
def test_names_of_images_are_accepted(name: str):
    """What may be the name of an image is left to the engine."""
    assert declare(image=name).image == name


def test_images_travel(tmp_path: Path):
    """An environment that was sent to another process as JSON is the same there."""
    image = ContainerImage("FROM a", build_args={"A": "1"}, context_dir=str(tmp_path))
    for environment in (
        Container(image="a:1", platform="linux/arm64"),
        Container(image=image, requirements=["numpy"], force=True),
    ):
        travelled = json.loads(json.dumps(unstructure_environment(environment)))
        assert restore_environment(travelled) == environment


def test_service_gets_a_dockerfile():
    """A service that builds the image is sent what it needs and no more; a name is a Dockerfile."""
    environment = Container(
        image="python:3.11", requirements=[["a"], ["b"]], platform="linux/arm64"
    )
    definition = environment.definition()
    assert definition["image"]["dockerfile_str"] == "FROM python:3.11\n"
    assert definition["requirements"] == [["a"], ["b"]]
    assert set(definition) == {"image", "requirements"}


def test_images_have_keys_of_their_own(cache: Path, monkeypatch: pytest.MonkeyPatch):
    """The key of an environment tells images, platforms and requirements apart."""
    monkeypatch.setenv("FAL_CORE_CONTAINER_ENGINE", "none-on-this-machine")
    environments = [
        Container(image="a"),
        Container(image="b"),
        Container(image="a", platform="linux/arm64"),
        Container(image=ContainerImage("FROM a")),
        Container(image=ContainerImage("FROM a"), platform="linux/arm64"),
        Container(image=ContainerImage("FROM a", build_args={"A": "1"})),
        Container(image="a").extend(["numpy"]),
        Container(image="a", python_version="3.11"),
        Container(image="a", requirements=["numpy"], index_url="https://host/simple"),
        Container(image="a", requirements=["numpy"], exclude_newer="7 days"),
    ]
    assert len({each.key for each in environments}) == len(environments)
    assert Container(image="a").key == Container(image="a", force=True).key
    assert Container(image="a").stamp() is None


def test_requirements_are_added_as_a_layer():
    """An environment is extended by a layer after those that it has."""
    environment = Container(image="a", requirements=["x"]).extend(["y", "z"])
    assert environment.layers == (("x",), ("y", "z"))


def test_a_name_of_an_image_is_no_option_of_the_engine():
    """An engine would take it for one."""
    with pytest.raises(OptionError, match="no name of an image"):
        Container(image="--tls-verify=false")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"volumes": ["/data:/data"], "network": "host"}, "'volumes' and 'network'"),
        ({"network": False}, "'network'"),
        ({"shm_size": "1g"}, "'shm_size'"),
    ],
)
def test_what_a_service_would_not_do_is_refused(options: dict[str, Any], named: str) -> None:
    """A service that runs a container elsewhere is not asked for what it would leave out."""
    container = Container(image="python:3.11", **options)
    with pytest.raises(OptionError, match=f"Option {named} is for a container engine"):
        container.definition()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"exclude_newer": "a week"}, "'exclude_newer' must be a date"),
        ({"torch_backend": "cuda"}, "'torch_backend' must be one of uv's"),
        ({"groups": ["dev"]}, r"Name it with project='\.'"),
        ({"project": "/nowhere"}, "has no pyproject"),
        ({"constraints_file": "/nowhere/c.txt"}, "there is no such file"),
    ],
)
def test_wrong_options_of_packages_are_refused(options: dict[str, Any], says: str) -> None:
    """They are checked where they are written, as those of a virtual environment are."""
    with pytest.raises(OptionError, match=says):
        declare(image="a", **options)


def test_a_service_is_not_given_options_that_it_does_not_follow(tmp_path: Path) -> None:
    """A service that builds the image itself is refused what it would leave out."""
    constraints = tmp_path / "constraints.txt"
    constraints.touch()
    refused: tuple[dict[str, Any], ...] = (
        {"index_url": "https://host/simple"},
        {"exclude_newer": "7 days"},
        {"extra_index_urls": ["https://host/simple"]},
        {"constraints_file": constraints},
    )
    for options in refused:
        container = Container(image="a", requirements=["numpy"], **options)
        with pytest.raises(OptionError, match="is not for a service that builds"):
            container.definition()
