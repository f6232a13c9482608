"""Interpreters of containers: the command that runs Python in a new container."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import attrs

from fal_core.caches import cache_directory
from fal_core.environments import Channel, Command, Interpreter
from fal_core.errors import HostError
from fal_core.reprs import show_fields
from fal_env_container.engines import QUIET, Engine
from fal_env_container.images.built_images import BuiltImage
from fal_env_container.limits import limit_options
from fal_env_container.running.endings import CHECK, explain
from fal_env_container.running.first_lines import first_lines
from fal_env_container.running.mounts import Mount, hides_the_system
from fal_env_container.running.settings import Settings, find_channel
from fal_env_container.running.variables import certificates, inherited, is_of_engine

if TYPE_CHECKING:
    from fal_core.machines import Machine

#: Where the worker's modules are kept in a container, between containers.
_CACHE = "/.fal-core"
#: Where compiled modules of its standard library are kept, if the image has none.
_COMPILED = f"{_CACHE}/compiled"
#: Where packages are that were installed on top of the image, and their compiled modules.
_PACKAGES = "/.fal-core-packages"
_COMPILED_PACKAGES = "/.fal-core-compiled"
#: The label of containers that run functions, with the process that has started them.
CALLER_LABEL = "fal-core.caller"

#: Rights that some engines give to each container and others to none. With them a stranger
#: sends packets in the name of other containers, or makes files of devices.
_RIGHTS = ("AUDIT_WRITE", "MKNOD", "NET_RAW")

#: How many processes a container may have whose function is a stranger's.
_MOST_PROCESSES = 4096

#: GPUs by UUID, which a host has given to a worker.
_GPUS = "CUDA_VISIBLE_DEVICES"
#: GPUs that a runtime of NVIDIA's adds to a container, even if other workers hold them.
_ALL_GPUS = "NVIDIA_VISIBLE_DEVICES"


@attrs.frozen(kw_only=True)
class ContainerInterpreter(Interpreter):
    """
    The Python of *image*, in a container of its own for each process.

    Attributes:
        packages: A folder of packages that the Python finds before those of the image.

        compiled: A folder that keeps their compiled modules. None if none does.

        executable: The program of the Python, as its image finds it.
    """

    __repr__ = show_fields

    engine: Engine
    image: BuiltImage
    settings: Settings = attrs.field(factory=Settings)
    packages: str | None = None
    compiled: str | None = None
    executable: str = "python3"
    python_version: str | None = None
    channel: Channel = attrs.field(
        default=attrs.Factory(lambda self: find_channel(self.engine), takes_self=True)
    )

    @property
    def joins_networks(self) -> bool:
        return self.engine.joins_networks and self.settings.network is True

    def command(
        self,
        arguments: Sequence[str],
        *,
        variables: Mapping[str, str] = {},
        binds: Mapping[str, str] = {},
        ports: Mapping[int, int] = {},
        machine: Machine | None = None,
        name: str | None = None,
        descriptors: int = 0,
        network: str | None = None,
    ) -> Command:
        name = name or f"fal-core-{os.getpid()}-{os.urandom(6).hex()}"
        options = [
            *("run", "--rm", "--pull=never", f"--name={name}"),
            f"--label={CALLER_LABEL}={os.getpid()}",
            f"--entrypoint={self.executable}",
            f"--shm-size={self.settings.shared_memory}",
            f"--preserve-fds={descriptors}" if descriptors else "--interactive",
            *self._engine_options(),
            *self._user_options(),
            *((f"--network=ns:{network}",) if network else self._network_options(ports)),
            *limit_options(self.engine, machine),
            *self._confinement(machine),
            *self._file_options(binds),
            *self._variable_options(variables),
        ]
        argv = self.engine.command(*options, self.image.id, *self._with_path(arguments))
        return Command(
            argv=argv,
            variables={
                **QUIET,
                **{each: value for each, value in variables.items() if not _is_shown(each)},
            },
            directory=self._directory(),
            stop_argv=self._stop(name),
            explain=partial(explain, self.engine, self.image, self.executable, machine),
        )

    @property
    def _keeps_modules(self) -> bool:
        """
        Whether containers share a folder for modules: what a stranger writes there would run
        in the containers of others.
        """
        return self.settings.trusted and self.engine.place != "elsewhere"

    @property
    def _packages(self) -> Mapping[str, str | None]:
        """Where the container sees packages, with the folder of their compiled modules."""
        if not self.packages:
            return {}
        return {_PACKAGES: _COMPILED_PACKAGES if self.compiled else None}

    def _with_path(self, arguments: Sequence[str]) -> Sequence[str]:
        """
        Return *arguments* with what the Python is to find beside its own packages, and a look
        at its version.

        It is isolated, and reads no PYTHONPATH: that of the image is meant for it too.
        """
        if "-c" not in arguments:
            return arguments
        written = self.image.variables.get("PYTHONPATH", "")
        first = [path for path in written.split(":") if path]
        told = first_lines(
            first=first,
            packages=self._packages,
            compiled=_COMPILED if self._keeps_modules else None,
        )
        code = list(arguments).index("-c") + 1
        source = f"{CHECK}{told}{arguments[code]}"
        return (*arguments[:code], source, *arguments[code + 1 :])

    def _directory(self) -> str | None:
        """
        Return where the engine is started: the monitor of a container leaves a file where it
        is once the memory of the container has run out.
        """
        if self.engine.name != "podman":
            return None
        return cache_directory("container-monitors", make=True)

    def _stop(self, name: str) -> tuple[str, ...]:
        # Docker ends it at once, and Podman waits unless it is told not to.
        at_once = ("--time=0", "--ignore") if self.engine.name == "podman" else ()
        return self.engine.command("rm", "--force", *at_once, name)

    def _engine_options(self) -> Iterable[str]:
        if self.engine.has_init:
            yield "--init"
        if self.engine.name != "nerdctl":
            # What it prints comes from its worker; its files are those of the caller.
            yield from ("--log-driver=none", "--no-healthcheck")
            yield "--security-opt=label=disable"
        if self.image.platform != self.engine.platform:
            yield f"--platform={self.image.platform}"

    def _user_options(self) -> Iterable[str]:
        """Yield what makes files in mounts belong to the caller."""
        if self.engine.place == "elsewhere":
            return
        if self.engine.is_rootless or os.getuid() == 0:
            # It is the caller outside.
            yield "--user=0:0"
            return
        yield f"--user={os.getuid()}:{os.getgid()}"
        if "HOME" not in self.image.variables:
            # Where the image knows no such user, it has no home directory.
            yield f"--env=HOME={_CACHE}"

    def _confinement(self, machine: Machine | None) -> Iterable[str]:
        """Yield what bounds a function that is not the user's own."""
        if self.settings.trusted:
            return
        yield "--security-opt=no-new-privileges"
        yield from (f"--cap-drop={right}" for right in _RIGHTS)
        # Images ask for all GPUs by this, where the engine has a runtime of NVIDIA's. Those
        # that it is given are named one by one.
        yield f"--env={_ALL_GPUS}=void"
        if machine is None or machine.processes is None:
            yield f"--pids-limit={_MOST_PROCESSES}"

    def _network_options(self, ports: Mapping[int, int]) -> Iterable[str]:
        network = self.settings.network
        if network is False and ports:
            raise HostError(
                "A service in a container without a network cannot be reached. Leave "
                "network=False out."
            )
        if network is False:
            yield "--network=none"
            return
        if network is not True:
            yield f"--network={network}"
        yield from (f"--publish=127.0.0.1:{outer}:{inner}" for outer, inner in ports.items())

    def _file_options(self, binds: Mapping[str, str]) -> Iterable[str]:
        if self.engine.place == "elsewhere":
            # Paths of this machine mean nothing there: its volumes are those of the engine.
            yield from (mount.option for mount in self.settings.volumes)
            return
        mounts = {
            target: Mount(source, target)
            for source, target in binds.items()
            if not hides_the_system(target)
        }
        mounts |= {path: Mount(path, path, ("ro",)) for path in certificates().values()}
        mounts |= {mount.target: mount for mount in self.settings.volumes}
        if self.packages:
            mounts[_PACKAGES] = Mount(self.packages, _PACKAGES, ("ro",))
            # For what the function starts; the worker reads none.
            path = self.image.variables.get("PYTHONPATH")
            yield "--env=PYTHONPATH=" + ":".join(filter(None, (path, _PACKAGES)))
        if self.compiled:
            mounts[_COMPILED_PACKAGES] = Mount(self.compiled, _COMPILED_PACKAGES)
        if self._keeps_modules:
            mounts[_CACHE] = Mount(cache_directory("container-workers", make=True), _CACHE)
        yield from (mount.option for mount in mounts.values())
        yield f"--env=FAL_CORE_CACHE={_CACHE}"
        directory = os.getcwd()
        if any(_is_below(directory, target) for target in mounts):
            yield f"--workdir={directory}"

    def _variable_options(self, variables: Mapping[str, str]) -> Iterable[str]:
        trusted = self.settings.trusted
        if not trusted:
            variables = {each: variables[each] for each in variables if each != _ALL_GPUS}
        names = {*inherited(self.image.variables, trusted=trusted)} - variables.keys()
        yield from (f"--env={name}" for name in sorted(names))
        if self.engine.place == "here":
            paths = certificates().items()
            yield from (f"--env={name}={path}" for name, path in sorted(paths))
        for name, value in variables.items():
            yield f"--env={name}={value}" if _is_shown(name) else f"--env={name}"
        gpus = [each for each in variables.get(_GPUS, "").split(",") if "-" in each]
        if gpus and not self.engine.takes_devices:
            raise HostError(
                f"{self.engine.name} takes no names of devices, and would leave GPU "
                f"{', '.join(gpus)} out of the container. Have it read CDI specifications, as "
                "Docker does with the feature 'cdi' in its daemon.json, or use Podman."
            )
        yield from (f"--device=nvidia.com/gpu={gpu}" for gpu in gpus)


def _is_shown(name: str) -> bool:
    """
    Tell whether the value of a variable is in the command line: the engine has another one.

    All others, which may be secrets, are not: any user of the machine may read that line.
    """
    return is_of_engine(name)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
