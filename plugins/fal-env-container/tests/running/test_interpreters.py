"""The command that starts a container, and what its end means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_core.errors import HostError, OptionError
from fal_core.machines import Machine
from fal_env_container import Container
from fal_env_container.engines import Engine
from fal_env_container.images.built_images import BuiltImage
from fal_env_container.running.interpreters import ContainerInterpreter
from fal_env_container.running.mounts import Mount
from fal_env_container.running.settings import Settings

PODMAN = Engine(
    name="podman",
    program="/nowhere/podman",
    version="5.4.2",
    place="here",
    platform="linux/amd64",
    passes_descriptors=True,
    takes_devices=True,
)
DOCKER = attrs.evolve(
    PODMAN, name="docker", program="/nowhere/docker", passes_descriptors=False
)
IMAGE = BuiltImage(
    id="abc", name="models:1", platform="linux/amd64", variables={"PATH": "/bin"}
)


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache and a working directory of the test's own, and its variables."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("FAL_CORE_CONTAINER_CHANNEL", raising=False)
    monkeypatch.chdir(tmp_path)


def made(engine: Engine = PODMAN, **settings: Any) -> ContainerInterpreter:
    return ContainerInterpreter(engine=engine, image=IMAGE, settings=Settings(**settings))


def test_arguments_follow_the_image():
    """The command ends with the image and the arguments of its Python."""
    command = made().command(("-I", "-c", "pass"))
    assert command.argv[:2] == ("/nowhere/podman", "run")
    assert command.argv[-4:-1] == ("abc", "-I", "-c")
    assert command.argv[-1].endswith("\npass")
    assert "--entrypoint=python3" in command.argv


def test_each_container_has_a_name_of_its_own():
    """The name is the host's or a new one, and what ends the container has it too."""
    given = made().command((), name="fal-core-7")
    assert "--name=fal-core-7" in given.argv
    assert given.stop_argv == (
        *("/nowhere/podman", "rm", "--force", "--time=0", "--ignore", "fal-core-7"),
    )
    one, other = made(DOCKER).command(()), made(DOCKER).command(())
    assert one.stop_argv is not None
    assert one.stop_argv != other.stop_argv
    assert f"--name={one.stop_argv[-1]}" in one.argv


def test_the_channel_is_what_the_engine_can_do(monkeypatch: pytest.MonkeyPatch):
    """Descriptors are passed, or received over a socket, or there are the streams alone."""
    elsewhere = attrs.evolve(PODMAN, place="elsewhere", passes_descriptors=False)
    channels = [made(engine).channel for engine in (PODMAN, DOCKER, elsewhere)]
    assert channels == ["passed", "socket", "streams"]
    assert "--preserve-fds=8" in made().command((), descriptors=8).argv
    assert "--interactive" in made().command(()).argv
    monkeypatch.setenv("FAL_CORE_CONTAINER_CHANNEL", "streams")
    assert made().channel == "streams"


def test_no_value_of_a_variable_is_in_the_command_line(monkeypatch: pytest.MonkeyPatch):
    """Variables are named, and their values are in the environment of the engine."""
    monkeypatch.setenv("INHERITED", "from the caller")
    command = made().command((), variables={"GIVEN": "by the host"})
    assert {"--env=INHERITED", "--env=GIVEN"} <= set(command.argv)
    assert command.variables["GIVEN"] == "by the host"
    assert not any("by the host" in word or "from the caller" in word for word in command.argv)
    secrets = dict.fromkeys(
        ("SSH_PRIVATE_KEY", "UV_PUBLISH_TOKEN", "CONDA_TOKEN", "CONTAINER_PASSWORD"), "secret"
    )
    secrets |= dict.fromkeys(("DOCKER_AUTH_CONFIG", "PYTHON_KEY", "GOOGLE_API_KEY"), "secret")
    command = made().command((), variables={**secrets, "LD_PRELOAD": "/in/the/image.so"})
    assert not any("secret" in word for word in command.argv)
    assert {f"--env={name}" for name in secrets} <= set(command.argv)
    assert secrets.items() <= command.variables.items()
    # What the engine would take for its own is not in its environment.
    assert "--env=LD_PRELOAD=/in/the/image.so" in command.argv
    assert "LD_PRELOAD" not in command.variables


def test_binds_are_mounted_unless_they_hide_the_system(tmp_path: Path):
    """The working directory is that of the caller where it is mounted."""
    folder = str(tmp_path)
    command = made().command((), binds={folder: folder, "/usr": "/usr", "/": "/"})
    mounts = [word for word in command.argv if word.startswith("--volume=")]
    assert f"--volume={folder}:{folder}" in mounts
    assert not any(word.endswith((":/usr", ":/")) for word in mounts)
    assert f"--workdir={folder}" in command.argv
    assert not any(word.startswith("--workdir") for word in made().command(()).argv)


def test_an_engine_elsewhere_sees_nothing_of_this_machine(tmp_path: Path):
    """Paths of this machine mean nothing to it."""
    elsewhere = attrs.evolve(PODMAN, place="elsewhere", passes_descriptors=False)
    volumes = (Mount.parse("cache:/cache"),)
    command = made(elsewhere, volumes=volumes).command((), binds={"/a": "/a"})
    mounts = [word for word in command.argv if word.startswith(("--volume", "--mount"))]
    assert mounts == ["--volume=cache:/cache"]


def test_a_network_is_that_of_the_options():
    """There is the engine's own, none, or the one that is named; ports lead into it."""

    def networks(network: bool | str, ports: dict[int, int]) -> list[str]:
        argv = made(network=network).command((), ports=ports).argv
        return [word for word in argv if word.startswith(("--network", "--publish"))]

    ports, published = {8081: 8080}, "--publish=127.0.0.1:8081:8080"
    assert networks(True, ports) == [published]
    assert networks(False, {}) == ["--network=none"]
    assert networks("models", ports) == ["--network=models", published]
    with pytest.raises(HostError, match="cannot be reached"):
        networks(False, ports)


def test_a_machine_becomes_limits():
    """Memory, processors, processes and the GPUs that a host has given are those of the container."""
    machine = Machine(name="tiny", memory=1 << 30, cpus=0.5, processes=60)
    gpus = {"CUDA_VISIBLE_DEVICES": "GPU-1a,MIG-2b"}
    argv = made().command((), machine=machine, variables=gpus).argv
    assert {"--memory=1073741824", "--memory-swap=1073741824", "--cpus=0.5"} <= set(argv)
    # The init process and the guard of the worker are none of the function's.
    assert "--pids-limit=62" in argv
    devices = [word for word in argv if word.startswith("--device")]
    assert devices == ["--device=nvidia.com/gpu=GPU-1a", "--device=nvidia.com/gpu=MIG-2b"]
    without = attrs.evolve(DOCKER, takes_devices=False)
    with pytest.raises(HostError, match="would leave GPU GPU-1a, MIG-2b out of the container"):
        made(without).command((), variables=gpus)
    assert made(without).command((), variables={"CUDA_VISIBLE_DEVICES": ""})


@pytest.mark.parametrize(
    "options",
    [
        {"volumes": ["/data"]},
        {"volumes": ["data:models"]},
        {"volumes": ["/data:/data:wo"]},
        {"shm_size": "much"},
        {"shm_size": 0},
        {"network": ""},
    ],
)
def test_options_that_cannot_be_understood_are_refused(options: dict[str, Any]):
    """They are errors where they are written, and name what they are."""
    written = next(iter(options.values()))
    [shown] = written if isinstance(written, list) else [written]
    more: dict[str, Any] = {"volumes": (), **options}
    with pytest.raises(OptionError) as caught:
        Container(image="models:1", **more)
    assert repr(shown) in str(caught.value)


def test_functions_with_other_volumes_share_no_worker():
    """What a container is started with is part of the key."""
    keys = {
        Container(image="models:1").key,
        Container(image="models:1", shm_size="1g").key,
        Container(image="models:1", network=False).key,
        Container(image="models:1", volumes=("a:/a",)).key,
    }
    assert len(keys) == 4


def test_a_path_with_a_colon_can_be_mounted():
    """An engine takes the parts of such a mount by name."""
    assert Mount("/a:b", "/c", ("ro",)).option == (
        '--mount="type=bind","source=/a:b","target=/c","readonly"'
    )


def test_strangers_are_confined():
    """
    A container of a stranger gets no new privileges, none of the rights that only some engines
    give, and so many processes, and shares no folder in which code of other containers lies.
    """
    stranger = made(trusted=False).command(()).argv
    assert "--security-opt=no-new-privileges" in stranger
    assert "--pids-limit=4096" in stranger
    assert {"--cap-drop=NET_RAW", "--cap-drop=MKNOD", "--cap-drop=AUDIT_WRITE"} < {*stranger}
    assert not [each for each in stranger if "container-workers" in each]
    assert [each for each in made().command(()).argv if "container-workers" in each]


def test_strangers_have_the_gpus_that_they_are_given():
    """No image of a stranger, and no variable, has a runtime of the engine add GPUs of others."""
    variables = {"NVIDIA_VISIBLE_DEVICES": "all", "CUDA_VISIBLE_DEVICES": "GPU-1"}
    argv = made(trusted=False).command((), variables=variables).argv
    told = [each for each in argv if "VISIBLE_DEVICES" in each or "--device" in each]
    assert told == [
        "--env=NVIDIA_VISIBLE_DEVICES=void",
        "--env=CUDA_VISIBLE_DEVICES",
        "--device=nvidia.com/gpu=GPU-1",
    ]


def test_containers_join_a_network_that_was_made():
    """
    Podman of root puts a container into a network namespace; other engines do not, and no
    function without a network is in one.
    """
    assert made().joins_networks
    argv = made().command((), network="/proc/7/ns/net").argv
    assert [each for each in argv if each.startswith("--network")] == [
        "--network=ns:/proc/7/ns/net"
    ]
    assert not made(DOCKER).joins_networks
    assert not made(attrs.evolve(PODMAN, is_rootless=True)).joins_networks
    assert not made(network=False).joins_networks


def test_strangers_inherit_no_logins(monkeypatch: pytest.MonkeyPatch):
    """The URLs of indexes that this machine builds with are the user's, with their passwords."""
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:hidden@example.org/simple")
    monkeypatch.setenv("TZ", "UTC")
    assert "--env=PIP_INDEX_URL" in made().command(()).argv
    argv = made(trusted=False).command(()).argv
    assert "--env=PIP_INDEX_URL" not in argv
    assert "--env=TZ" in argv
