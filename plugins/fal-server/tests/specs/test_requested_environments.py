"""Environments that clients ask for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from isolate_proto import EnvironmentDefinition, MachineRequirements

from fal_core.environments import THIS_PYTHON, CurrentEnvironment, Environment
from fal_core.errors import OptionError
from fal_core.hooks import hookimpl
from fal_core.machines import Machine
from fal_core.plugins import registered
from fal_server.errors import Invalid
from fal_server.specs.requested_environments import read_environment, with_integers


def to_text(value: object) -> str:
    """Return *value* as JSON, which tells integers from floats; a struct keeps no order."""
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (3, 3),
        (3.0, 3),
        (-2.0, -2),
        (0.0, 0),
        (2**53, 2**53),
        (0.5, 0.5),
        (-1.25, -1.25),
        (True, True),
        ("3.0", "3.0"),
        (None, None),
        ([1, 1.5, [2]], [1, 1.5, [2]]),
        ({"inner": {"count": 4, "part": 0.1}}, {"inner": {"count": 4, "part": 0.1}}),
    ],
    ids=repr,
)
def test_whole_numbers_of_a_struct_are_integers(sent, expected):
    """
    A protobuf struct keeps every number as a double: whole ones are read as integers, at
    any depth, and other values stay as they are.
    """
    message = Struct()
    message.update({"value": sent})
    assert to_text(with_integers(MessageToDict(message))) == to_text({"value": expected})


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e-300], ids=repr)
def test_floats_that_are_not_whole_stay(value):
    """Infinities, NaN and fractions stay floats."""
    assert with_integers(value) is value


def ask_for(
    image: dict[str, object],
    context: Path | None = None,
    *,
    owner: str = "one",
    **options: object,
) -> Environment:
    """Return the environment of a client that asks for *image*."""
    definition = EnvironmentDefinition(kind="container")
    definition.configuration.update({"image": image, **options})
    return read_environment([definition], context, owner=owner)


def test_images_read_no_files_of_the_server(tmp_path: Path):
    """
    What a client says of its own files names none of the server's: images are built of the
    files that were sent, of all of them, and of nothing where there are none.
    """
    pytest.importorskip("fal_env_container", reason="fal-env-container is not installed")
    image = {
        "dockerfile_str": "FROM base\nCOPY / /copied\n",
        "docker_context_dir": "/etc",
        "docker_files_list": ["passwd"],
        "docker_ignore": ["x"],
        "dockerignore_path": "/etc/passwd",
        "build_args": {"A": "1"},
    }
    with pytest.raises(OptionError, match="build context is no directory"):
        ask_for(image).stamp()
    environment = ask_for(image, tmp_path)
    assert environment.image.context_dir == str(tmp_path)
    assert environment.image.build_args == {"A": "1"}
    (tmp_path / ".dockerignore").write_text("*")
    assert environment.image.ignore_lines() == []
    with pytest.raises(Invalid, match="by its own command"):
        ask_for({"image": "base", "use_isolate": False})
    with pytest.raises(Invalid, match="'volumes' names a file"):
        ask_for({"image": "base"}, volumes=["/etc:/stolen"])
    assert ask_for({"image": "a:1"}).image == "a:1"


@pytest.mark.parametrize(
    ("options", "image"),
    [
        ({"python_version": "3.12"}, "python:3.12-slim"),
        ({"image": None}, f"python:{THIS_PYTHON}-slim"),
    ],
)
def test_container_without_an_image(options: dict[str, object], image: str):
    """Released clients may leave the image to the service: it is one with their Python."""
    pytest.importorskip("fal_env_container", reason="fal-env-container is not installed")
    definition = EnvironmentDefinition(kind="container")
    definition.configuration.update(options)
    environment: Any = read_environment([definition])
    assert environment.image == image


@pytest.mark.parametrize("place", ["./channel", "../channel", "~/channel"])
@pytest.mark.parametrize("option", ["channels", "env_dict"])
def test_channels_are_no_folders_of_the_client(option: str, place: str):
    """
    A channel that is relative to a directory of the client is refused, and is not looked for
    on the server. A name and a URL are taken.
    """
    pytest.importorskip("fal_env_conda", reason="fal-env-conda is not installed")

    def ask(*channels: str) -> Environment:
        given = {"channels": list(channels)}
        if option == "env_dict":
            given = {"env_dict": {**given, "dependencies": ["words"]}}
        else:
            given = {**given, "packages": ["words"]}
        definition = EnvironmentDefinition(kind="conda")
        definition.configuration.update(given)
        return read_environment([definition])

    assert ask("conda-forge", "https://example.org/channel").kind == "conda"
    with pytest.raises(
        Invalid, match=f"^Channel '{place}' is a folder of the client's machine"
    ):
        ask("conda-forge", place)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("project", "."),
        ("python_version", "/home/other/.python-version"),
        ("packages", ["environment.yml"]),
    ],
)
def test_files_of_the_client_are_not_looked_for(option: str, value: object):
    """An option that names a file is refused, whatever files the server has."""
    definition = EnvironmentDefinition(kind="current")
    definition.configuration.update({option: value})
    with pytest.raises(Invalid, match=f"Option '{option}' names a file, which this server"):
        read_environment([definition])


@pytest.mark.parametrize(
    "entry",
    [
        *(
            "-r requirements.txt",
            "requirements.txt",
            "--requirement=/etc/passwd",
            "-c pins.txt",
        ),
        *("./project", ".", "~/project", "-e project", "wheels/tool-1.0-py3-none-any.whl"),
        *("--find-links ./wheels", "--find-links wheels", "-f wheels"),
    ],
)
def test_requirements_are_no_files_of_the_client(entry: str):
    """
    A requirement that names a file is refused by a sentence that says whose file it is,
    whatever files the server has; neither layers nor flags in two entries are a way
    around.
    """
    for written in ([entry], [["six"], [entry]], entry.split(maxsplit=1)):
        definition = EnvironmentDefinition(kind="current")
        definition.configuration.update({"requirements": written})
        with pytest.raises(Invalid, match="names a file of the client's machine"):
            read_environment([definition])


def test_requirements_that_are_read_by_the_kind():
    """
    Names, URLs, and flags of pip that name places by URLs, reach the environment, in two
    entries as well.
    """
    pytest.importorskip("fal_env_virtualenv", reason="fal-env-virtualenv is not installed")
    definition = EnvironmentDefinition(kind="virtualenv")
    written = [
        *("--extra-index-url", "https://host/cu121", "--pre", "torch>=2", "ruamel.yaml"),
        *("tool @ git+https://host/tool.git", "requests[socks] ; python_version < '4'"),
    ]
    definition.configuration.update({"requirements": written})
    environment: Any = read_environment([definition])
    request = environment.package_request()
    assert request.extra_index_urls == ("https://host/cu121",)
    assert request.layers == (("--pre", *written[3:]),)
    definition.configuration.update({"requirements": ["--no-build-isolation", "six"]})
    with pytest.raises(Invalid, match="'--no-build-isolation' is a flag that has no meaning"):
        read_environment([definition])


def test_environments_are_those_of_their_account():
    """
    Whatever a client says, what it builds is its account's, and no name leads it to what the
    server has built for another one.
    """
    pytest.importorskip("fal_env_container", reason="fal-env-container is not installed")
    mine = ask_for({"image": "base:1"}, tenant="two", trusted=True)
    assert (mine.tenant, mine.trusted) == ("one", False)
    assert mine.key != ask_for({"image": "base:1"}, owner="two").key
    for name in ("3f", "localhost/fal-core:3f9c"):
        with pytest.raises(Invalid, match="among those that the machine has built"):
            ask_for({"image": name})


@attrs.frozen(kw_only=True)
class Fitted(CurrentEnvironment):
    """An environment that is made for a machine."""

    kind: ClassVar[str] = "fitted"

    machine: str = ""
    gpus: int = 0

    def for_machine(self, machine: Machine) -> Fitted:
        return attrs.evolve(self, machine=machine.name, gpus=machine.gpus)


class FittedPlugin:
    """A plugin with that kind, and a machine type."""

    fal_core_api = 1

    @hookimpl
    def fal_register_environments(self) -> list[type[Environment]]:
        return [Fitted]

    @hookimpl
    def fal_resolve_machine(self, machine_type: str) -> Machine | None:
        return Machine(name="BIG", gpus=4) if machine_type == "BIG" else None


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"machine_types": ["BIG", "XS"]}, Fitted(machine="BIG", gpus=4)),
        ({"machine_type": "BIG", "num_gpus": 2}, Fitted(machine="BIG", gpus=2)),
        ({"machine_types": ["unknown"]}, Fitted()),
        ({}, Fitted()),
    ],
    ids=str,
)
def test_environments_are_those_of_a_machine(named, expected):
    """
    An environment is built for the first machine type of a request, and its GPUs, where that
    is known.
    """
    with registered(FittedPlugin()):
        machine = MachineRequirements(**named)
        asked = EnvironmentDefinition(kind="fitted")
        assert read_environment([asked], machine=machine) == expected
