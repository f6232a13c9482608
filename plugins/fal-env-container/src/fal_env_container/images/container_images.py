"""``ContainerImage``: an image that is built of a Dockerfile."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from fal_core.errors import OptionError
from fal_core.options import TRAVELS_AS
from fal_core.reprs import show_fields

if TYPE_CHECKING:
    from pathlib import Path

Builder = Literal["depot", "service", "worker"]
CommandOverride = str | list[str]

_BUILDERS = ("depot", "service", "worker")


def _show_names(value: Mapping[str, object]) -> str:
    return repr(dict.fromkeys(value, "…"))


def _names_alone(secrets: Mapping[str, str]) -> dict[str, str]:
    return dict.fromkeys(secrets, "")


def _without_passwords(
    registries: Mapping[str, Mapping[str, str]],
) -> dict[str, dict[str, str]]:
    return {name: {**login, "password": ""} for name, login in registries.items()}


def _here() -> Path:
    # Slow to import, and this module is imported by every declaration.
    from pathlib import Path

    return Path.cwd()


@attrs.define
class ContainerImage:
    """
    An image that is built of a Dockerfile, on this machine or by the service.

    Attributes:
        dockerfile_str: The text of the Dockerfile.

        build_args: The values of its ``ARG``.

        registries: For each registry the ``username`` and the ``password`` to log in with,
            beside the logins that the engine has.

        builder: Which builder the service uses. It has no effect on this machine.

        compression: Of the layers that the service stores. It has no effect on this machine.

        force_compression: As *compression*.

        secrets: What ``RUN --mount=type=secret,id=NAME`` sees, by name. Neither the image
            nor its key has them.

        entrypoint: The image's own server has it instead of the Dockerfile's.

        cmd: The image's own server has it instead of the Dockerfile's.

        use_isolate: Whether Python functions are sent to the image; if False, its own command
            serves.

        context_dir: The directory that ``COPY`` and ``ADD`` read; the current one by default.

        dockerignore: The lines of a ``.dockerignore``, instead of the file.

        dockerignore_path: Another file than the ``.dockerignore`` of *context_dir*.
    """

    __repr__ = show_fields

    dockerfile_str: str
    build_args: dict[str, str] = attrs.field(factory=dict)
    registries: dict[str, dict[str, str]] = attrs.field(
        factory=dict, repr=_show_names, metadata={TRAVELS_AS: _without_passwords}
    )
    builder: Builder | None = None
    compression: str = "gzip"
    force_compression: bool = False
    secrets: dict[str, str] = attrs.field(
        factory=dict, repr=_show_names, metadata={TRAVELS_AS: _names_alone}
    )
    entrypoint: CommandOverride | None = None
    cmd: CommandOverride | None = None
    use_isolate: bool | None = None
    context_dir: str | os.PathLike[str] = attrs.field(factory=_here)
    dockerignore: list[str] | None = None
    dockerignore_path: str | os.PathLike[str] | None = None

    def __attrs_post_init__(self) -> None:
        text = self.dockerfile_str
        if not isinstance(text, str) or not text.strip():
            raise OptionError(
                "The Dockerfile is empty. Write ContainerImage.from_dockerfile_str(TEXT) or "
                "ContainerImage.from_dockerfile(PATH)."
            )
        _check_texts("build_args", self.build_args)
        _check_texts("secrets", self.secrets)
        if not isinstance(self.registries, Mapping):
            raise OptionError("Option 'registries' must be a dict.")
        for registry, login in self.registries.items():
            if not isinstance(login, Mapping) or not {"username", "password"} <= set(login):
                raise OptionError(
                    f"The registry {registry!r} needs a 'username' and a 'password'."
                )
            _check_texts("registries", login)
        if self.builder is not None and self.builder not in _BUILDERS:
            raise OptionError(
                f"Option 'builder' must be one of {', '.join(map(repr, _BUILDERS))}, "
                f"not {self.builder!r}."
            )
        for name in ("entrypoint", "cmd"):
            _check_command(name, getattr(self, name))
        if not isinstance(self.use_isolate, bool | None):
            raise OptionError(f"Option 'use_isolate' must be a bool, not {self.use_isolate!r}.")
        lines = self.dockerignore
        if lines is not None and not (
            isinstance(lines, list | tuple) and all(isinstance(line, str) for line in lines)
        ):
            raise OptionError("Option 'dockerignore' must be a list of str.")
        path = self.dockerignore_path
        if self.dockerignore is None and path is not None and not os.path.isfile(path):
            raise FileNotFoundError(f"There is no file {os.fspath(path)} to ignore by.")

    @classmethod
    def from_dockerfile_str(cls, text: str, **kwargs: Any) -> ContainerImage:
        """Return the image of the Dockerfile *text*, with the other fields in *kwargs*."""
        return cls(dockerfile_str=text, **kwargs)

    @classmethod
    def from_dockerfile(cls, path: str, **kwargs: Any) -> ContainerImage:
        """Return the image of the Dockerfile at *path*, with the other fields in *kwargs*."""
        with open(path, encoding="utf-8") as stream:
            return cls.from_dockerfile_str(stream.read(), **kwargs)

    @classmethod
    def of_mapping(cls, written: Mapping[str, Any]) -> ContainerImage:
        """
        Return the image that *written* describes: its fields, or what :meth:`to_dict` returns.

        Raises:
            OptionError: It has another field.
        """
        known = {field.name for field in attrs.fields(cls)}
        values = dict(written)
        # The engine finds out by itself which files it needs.
        values.pop("docker_files_list", None)
        if "docker_context_dir" in values:
            values["context_dir"] = values.pop("docker_context_dir")
        ignored = values.pop("docker_ignore", None)
        unknown = sorted(values.keys() - known)
        if unknown:
            raise OptionError(f"An image has no field {unknown[0]!r}.")
        if "dockerfile_str" not in values:
            raise OptionError("An image needs a 'dockerfile_str' or the name of an 'image'.")
        image = cls(**values)
        if ignored is not None:
            image.dockerignore = []
        return image

    def __getstate__(self) -> dict[str, Any]:
        # What is pickled may be kept in a file.
        values = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        kept = {
            "registries": _without_passwords(self.registries),
            "secrets": _names_alone(self.secrets),
        }
        return {**values, **kept}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def __copy__(self) -> ContainerImage:
        return attrs.evolve(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> ContainerImage:
        import copy

        values = {
            field.name: copy.deepcopy(getattr(self, field.name), memo)
            for field in attrs.fields(type(self))
        }
        return type(self)(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the image as the service takes it, secrets included."""
        image: dict[str, Any] = {
            "dockerfile_str": self.dockerfile_str,
            "build_args": self.build_args,
            "registries": self.registries,
            "builder": self.builder,
            "compression": self.compression,
            "force_compression": self.force_compression,
            "secrets": self.secrets,
            "docker_context_dir": os.fspath(self.context_dir),
            "docker_files_list": self.get_copy_add_sources(),
            "docker_ignore": self._ignored_expressions(),
        }
        for name in ("entrypoint", "cmd", "use_isolate"):
            value = getattr(self, name)
            if value is not None:
                image[name] = value
        return image

    def get_copy_add_sources(self) -> list[str]:
        """Return what ``COPY`` and ``ADD`` name of the context, in the order of the Dockerfile."""
        from fal_env_container.images.service_sources import copied_sources

        return copied_sources(self.dockerfile_str)

    def add_dockerignore(
        self,
        patterns: list[str] | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        """
        Leave out what *patterns* match, or the lines of the file *path*, and nothing else.

        Raises:
            OptionError: Both are given, or none.
        """
        if (patterns is None) == (path is None):
            raise OptionError("Write either 'patterns' or 'path'.")
        self.dockerignore = patterns if path is None else _read_lines(path)

    def ignore_lines(self) -> list[str] | None:
        """Return the lines of the ``.dockerignore`` that counts; None if there is none."""
        if self.dockerignore is not None:
            return list(self.dockerignore)
        path = self.dockerignore_path or os.path.join(self.context_dir, ".dockerignore")
        return _read_lines(path) if os.path.isfile(path) else None

    def _ignored_expressions(self) -> list[str]:
        from fal_env_container.images.service_sources import ignored_expressions

        return ignored_expressions(self.ignore_lines())


def check_name(name: str) -> None:
    """
    Check that *name* may be the name of an image; whether there is one, its engine knows.

    Raises:
        OptionError: It is not.
    """
    if not name.strip():
        raise OptionError("Option 'image' is empty: name an image, or give a ContainerImage.")
    last = name.rpartition("/")[2].partition("@")[0].partition(":")[0]
    # Engines would take a dash for an option of theirs.
    if re.fullmatch(r"[a-z0-9][a-z0-9._-]*", last) and re.fullmatch(r"[^\s.-]\S*", name):
        return
    reason = "names are in lower case and without spaces, as in 'python:3.12-slim'."
    if "\n" in name or name[:5].upper() == "FROM ":
        reason = "give the text of a Dockerfile as ContainerImage.from_dockerfile_str(TEXT)."
    elif "dockerfile" in name.lower():
        reason = "give a Dockerfile as ContainerImage.from_dockerfile(PATH)."
    raise OptionError(f"Option 'image' is {name!r}, which is no name of an image: {reason}")


def _read_lines(path: str | os.PathLike[str]) -> list[str]:
    try:
        with open(path, encoding="utf-8-sig") as stream:
            return stream.read().splitlines()
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {os.fspath(path)} to ignore by.") from None


def _check_texts(option: str, values: object) -> None:
    """Check that *values* have names as builds have them, and texts. No value is shown."""
    if not isinstance(values, Mapping):
        raise OptionError(f"Option {option!r} must be a dict.")
    for name, value in values.items():
        # A builder would take what follows other letters for options.
        if not isinstance(name, str) or not re.fullmatch(r"[\w./:@-]+", name):
            raise OptionError(
                f"Option {option!r} has the name {name!r}. Write it with letters, digits, "
                "and '_', '-' or '.'."
            )
        if not isinstance(value, str):
            raise OptionError(f"Option {option!r} has {name!r}, which must be a str.")


def _check_command(name: str, value: object) -> None:
    is_list = isinstance(value, list) and all(isinstance(part, str) for part in value)
    if value is not None and not isinstance(value, str) and not is_list:
        raise OptionError(f"Option {name!r} must be a str or a list of str, not {value!r}.")
