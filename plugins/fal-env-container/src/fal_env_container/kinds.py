"""The kind ``container``: its options, and how its image is found or built."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from fal_core.digests import digest
from fal_core.environments import Environment, Interpreter
from fal_core.errors import OptionError
from fal_core.reprs import show_fields
from fal_env_container.images.container_images import ContainerImage, check_name
from fal_uv.fields import Layers, PackageOptions, masked_repr, to_layers

if TYPE_CHECKING:
    from fal_core.events import LogSink
    from fal_core.machines import HeldLimits
    from fal_env_container.building.keys import ImageRequest
    from fal_env_container.engines import Engine
    from fal_env_container.running.interpreters import ContainerInterpreter
    from fal_uv.installing.package_requests import PackageRequest

# Imports inside functions: every program that declares a function of any kind imports
# this module.


def _to_tuples(
    requirements: Iterable[str] | Iterable[Iterable[str]],
) -> tuple[str, ...] | Layers:
    if isinstance(requirements, str):
        return requirements  # type: ignore[return-value]  # It is refused where it is parsed.
    written = (each if isinstance(each, str) else tuple(each) for each in requirements)
    return tuple(written)  # type: ignore[return-value]  # Both mixed are refused there too.


def _to_image(written: str | ContainerImage | Mapping[str, Any]) -> str | ContainerImage:
    if not isinstance(written, Mapping):
        return written
    name = written.get("image")
    return name if isinstance(name, str) else ContainerImage.of_mapping(written)


#: Options that a service has no place for.
_OF_ENGINES = ("shm_size", "volumes", "network")


@attrs.frozen(kw_only=True)
class Container(PackageOptions, Environment):
    """
    A container of *image* for each worker.

    What the options of packages ask for is installed beside what the image has. A *project* is
    built and installed, and its sources are not read in place.

    Attributes:
        image: A ``ContainerImage`` to build, or the name of an image.

        python_version: Of the image's Python, as in ``3.11``. None if it is unknown until it
            starts.

        resolver: Has no effect, as uv resolves in either case.

        force: Build the image anew, on what the registries have now, and resolve the
            requirements anew, once in each process.

        platform: Of the image, as in ``linux/arm64``. None for that of the engine.

        shm_size: The size of ``/dev/shm``, in bytes or as in ``2g``. None for half of the
            memory.

        volumes: What its processes see beside the working directory and the project, as in
            ``models:/models:ro``.

        network: Whether its processes have a network, or the name of one of the engine's.

        trusted: Whether the image and the function may use what the user of this machine may:
            folders, networks and logins of the engine. A server does not trust its clients.

        tenant: Whose the image is, where it is not the user's. What one has built, with secrets
            or logins of its own, no other is given.
    """

    __repr__ = show_fields

    kind: ClassVar[str] = "container"
    brings_python: ClassVar[bool] = True

    image: str | ContainerImage | Mapping[str, Any] = attrs.field(converter=_to_image)
    requirements: tuple[str, ...] | Layers = attrs.field(
        default=(), converter=_to_tuples, repr=masked_repr
    )
    python_version: str | None = None
    resolver: Literal["uv", "pip"] | None = None
    force: bool = False
    platform: str | None = None
    shm_size: int | str | None = None
    volumes: tuple[str, ...] = ()
    network: bool | str = True
    trusted: bool = True
    tenant: str = ""

    def __attrs_post_init__(self) -> None:
        if self.resolver not in (None, "uv", "pip"):
            raise OptionError(
                f"Option 'resolver' must be 'uv' or 'pip', not {self.resolver!r}."
            )
        if self.python_version is not None and not re.fullmatch(
            r"\d+(\.\d+){0,2}t?", self.python_version.strip()
        ):
            raise OptionError(
                "Option 'python_version' of a container says which Python its image has, as in "
                f"'3.12', not {self.python_version!r}."
            )
        size_in_bytes(self.shm_size)
        if self.volumes:
            from fal_env_container.running.mounts import Mount

            for each in self.volumes:
                Mount.parse(each)
        if isinstance(self.network, str) and not self.network.strip():
            raise OptionError(
                f"Option 'network' is {self.network!r}: name a network of the engine, or write "
                "True or False."
            )
        if isinstance(self.image, str):
            check_name(self.image)
        if isinstance(self.image, ContainerImage):
            from fal_env_container.images.sources import find_sources

            # What is no Dockerfile fails where it is declared.
            find_sources(self.image.dockerfile_str, platform="linux/amd64")
        # Before their paths are looked for.
        self._check_strange_packages()
        entries = to_layers(self.requirements)
        object.__setattr__(self, "requirements", entries)
        # One may be a file of this directory.
        self._check_strange_packages()
        self.check_packages()
        if not self.trusted:
            from fal_env_container.images.strangers import check_image, check_options

            check_options(self.volumes, self.network)
            assert not isinstance(self.image, Mapping)  # The converter makes an image of it.
            check_image(self.image)

    def _check_strange_packages(self) -> None:
        if self.trusted or isinstance(self.requirements, str):
            return
        from fal_env_container.images.strangers import check_places, check_requirements

        written = self.requirements
        layers = ((each,) if isinstance(each, str) else each for each in written)
        check_requirements(entry for layer in layers for entry in layer)
        check_places(
            project=self.project,
            constraints_file=self.constraints_file,
            index_url=self.index_url,
            extra_index_urls=self.extra_index_urls,
        )

    @property
    def request(self) -> ImageRequest:
        """The image that is asked for."""
        from fal_env_container.building.keys import ImageRequest

        assert not isinstance(self.image, Mapping)  # The converter makes an image of it.
        return ImageRequest(self.image, self.platform, self.force, self.trusted, self.tenant)

    @property
    def packages(self) -> PackageRequest:
        """
        What is installed beside what the image has. Containers may not see the sources of a
        project, so that it is not editable.
        """
        return self.package_request(editable=False)

    @property
    def isolates_network(self) -> bool:
        return self.network != "host"

    @property
    def isolates_files(self) -> bool:
        return True

    def joins_networks(self) -> bool:
        engine = self._find_engine()
        return engine is not None and engine.joins_networks and self.network is True

    def network_problem(self) -> str:
        engine = self._find_engine()
        if engine is None or self.network is False or engine.is_rootless:
            return ""
        return (
            f"{engine.name} gives each container an address that all users of this machine "
            "and all other containers reach; without the rights of root it does not."
        )

    def _find_engine(self) -> Engine | None:
        from fal_env_container.finding import find_engine_if_any

        # That there is none is said when the environment is built.
        return find_engine_if_any()

    @property
    def key(self) -> str:
        from fal_env_container.building.keys import image_key

        asked = self.packages
        parts = (
            *(self.kind, image_key(self.request), asked.fingerprint() if asked else ()),
            self.python_version,
            # Functions that share a worker share all that its container was started with.
            *(self.shm_size, self.volumes, self.network, os.getcwd() if self.volumes else ""),
            *(() if self.trusted else ("untrusted",)),
            *((self.tenant,) if self.tenant else ()),
        )
        return digest(repr(parts).encode())

    def is_built(self) -> bool:
        from fal_core.errors import EnvironmentBuildError
        from fal_env_container.building.keys import find_image

        try:
            image = find_image(self.request)
        except EnvironmentBuildError:
            return False  # It is said when the environment is built.
        asked = self.packages
        if image is None or not asked:
            return image is not None
        from fal_env_container.running.packages import Packages, is_installed
        from fal_env_container.running.pythons import known_python

        python = known_python(image)
        if python is None:
            return False
        packages = Packages(image=image, python=python, asked=asked)
        return is_installed(packages, force=self.force)

    def obstacle(self) -> str:
        from fal_core.errors import EnvironmentBuildError
        from fal_env_container.finding import find_engine

        try:
            find_engine()
        except EnvironmentBuildError as error:
            return str(error)
        return ""

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        from fal_env_container.building.keys import find_or_build
        from fal_env_container.finding import find_engine
        from fal_env_container.running.interpreters import ContainerInterpreter
        from fal_env_container.running.mounts import find_volumes
        from fal_env_container.running.settings import Settings
        from fal_env_container.running.variables import warn_of_proxies

        settings = Settings(
            shm_size=size_in_bytes(self.shm_size),
            volumes=find_volumes(find_engine(), self.volumes),
            network=self.network,
            trusted=self.trusted,
        )
        engine, image = find_or_build(self.request, log, cancelled)
        warn_of_proxies(self.network, log)
        interpreter = ContainerInterpreter(engine=engine, image=image, settings=settings)
        if self.python_version is not None:
            from fal_env_container.running.pythons import find_python, mismatch

            python = find_python(engine, image, interpreter.executable, log)
            error = mismatch(image, python, self.python_version, is_of_caller=not self.trusted)
            if error is not None:
                raise error
        if not self.packages:
            return interpreter
        return self._with_packages(interpreter, log, cancelled)

    def _with_packages(
        self, interpreter: ContainerInterpreter, log: LogSink, cancelled: Event
    ) -> Interpreter:
        """Return *interpreter* with the requirements on its path."""
        from fal_env_container.running.packages import (
            Packages,
            compiled_folder,
            find_or_install,
        )
        from fal_env_container.running.pythons import find_python

        engine, image = interpreter.engine, interpreter.image
        python = find_python(engine, image, interpreter.executable, log)
        packages = Packages(
            image=image, python=python, asked=self.packages, builds=self.trusted
        )
        folder = find_or_install(engine, packages, log, cancelled, force=self.force)
        # What a stranger writes there would run in the containers of others who share it.
        is_owned = self.trusted or bool(self.tenant)
        compiled = compiled_folder(folder, self.tenant) if is_owned else None
        return attrs.evolve(
            interpreter,
            packages=folder,
            compiled=compiled,
            python_version=python.version,
        )

    def held_limits(self) -> HeldLimits | None:
        from fal_core import machines
        from fal_env_container.finding import find_engine_if_any
        from fal_env_container.limits import find_held_limits

        engine = find_engine_if_any()
        if engine is not None:
            return find_held_limits(engine)
        # That there is none is said when the environment is built.
        return machines.HeldLimits(by="the container engine")

    def stamp(self) -> object:
        from fal_env_container.building.keys import image_stamp

        stamp, packages = image_stamp(self.request), self.packages.stamp()
        return stamp if packages is None else (stamp, packages)

    def definition(self) -> dict[str, Any]:
        fields = attrs.fields_dict(type(self))
        named = [name for name in _OF_ENGINES if getattr(self, name) != fields[name].default]
        if named:
            raise OptionError(
                f"Option {' and '.join(map(repr, named))} is for a container engine of this "
                "machine, and a service does not take it. Leave it out there."
            )
        self.check_for_service(untold=("constraints_file", "extra_index_urls"))
        image = self.image
        assert not isinstance(image, Mapping)  # The converter makes an image of it.
        if isinstance(image, str):
            image = ContainerImage(f"FROM {image}\n")
        options = {
            "requirements": [
                each if isinstance(each, str) else list(each) for each in self.requirements
            ],
            "python_version": self.python_version,
            "resolver": self.resolver,
            "force": self.force,
        }
        written = {name: value for name, value in options.items() if value}
        return {"image": image.to_dict(), **written}

    def extend(self, requirements: Iterable[str]) -> Container:
        return attrs.evolve(self, requirements=(*self.layers, tuple(requirements)))


def size_in_bytes(written: int | str | None) -> int | None:
    """
    Return a size in bytes, of a number or a text as in ``512m``.

    Raises:
        OptionError: It is no size.
    """
    if written is None or isinstance(written, int):
        number, unit = written, ""
    else:
        found = re.fullmatch(r"(\d+)\s*([kmgt]?)(i?b)?", written.strip().lower())
        number, unit = (int(found[1]), found[2]) if found else (-1, "")
    if number is not None and number <= 0:
        raise OptionError(
            f"Option 'shm_size' is {written!r}: expected a size, such as '2g' or a number of "
            "bytes."
        )
    return None if number is None else number << 10 * ("kmgt".index(unit) + 1 if unit else 0)
