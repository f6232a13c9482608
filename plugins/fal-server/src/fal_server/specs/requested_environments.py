"""The environments that clients ask for, as environments of the core."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from google.protobuf.json_format import MessageToDict

from fal_core.declaring import structure_environment
from fal_core.environments import THIS_PYTHON, Environment
from fal_core.errors import FalCoreError, UnknownNameError
from fal_core.options import Options
from fal_server.errors import Invalid
from fal_server.specs.kinds import USUAL_KIND
from fal_server.specs.machine_types import for_machine

#: Options that clients send under another name.
_SPELLINGS = {"install_requires": "requirements"}

#: Options that name files of the client's machine, whose contents the client must send.
_LOCAL = ("constraints_file", "env_yml", "project", "volumes")

#: Options that hold requirements.
_REQUIREMENTS = ("requirements", "pip")

#: Flags among them after which a file or a folder may be named as an entry of its own.
_WITH_PLACE = ("-e", "--editable", "-f", "--find-links")

#: How a requirement begins, or is, that names a file of the client's machine.
_LOCAL_REQUIREMENT = re.compile(
    r"(?:-r|--requirements?|-c|--constraint)(?![A-Za-z-])"
    r"|(?:-e|--editable)(?![A-Za-z-])(?!.*://)"
    r"|(?:-f|--find-links)[\s=]+(?![a-z][a-z0-9+.-]*://)"
    r"|[.~/]"
    r"|[^\s:;@\[]*/"
    r"|[^\s:;@\[<=>]+\.(?:txt|toml|cfg|whl|zip|tar\.gz)$"
)

#: Fields of an image that name files of the client's machine. It has sent those that count.
_CONTEXT = (
    *("docker_context_dir", "docker_ignore", "docker_files_list"),
    *("context_dir", "dockerignore", "dockerignore_path"),
)


def read_environment(
    definitions: Sequence[Any],
    context: Path | None = None,
    machine: Any = None,
    *,
    owner: str = "",
) -> Environment:
    """
    Return the environment that a client asks for.

    Arguments:
        context: The directory of the files that the client has sent for its image.

        machine: The message that names the machine types that it is built for.

        owner: The account of the client.

    Raises:
        Invalid: There is not exactly one, no installed plugin provides its kind, or its
            options are not valid.
    """
    if len(definitions) != 1:
        raise Invalid(f"Exactly one environment is required, and {len(definitions)} were sent.")
    definition = definitions[0]
    sent = (
        MessageToDict(definition.configuration) if definition.HasField("configuration") else {}
    )
    written = {_SPELLINGS.get(name, name): with_integers(value) for name, value in sent.items()}
    for name in _LOCAL:
        if written.pop(name, None):
            raise Invalid(f"Option {name!r} names a file, which this server does not have.")
    _refuse_files(written)
    _refuse_local_requirements(written)
    _refuse_relative_channels(written)
    kind = definition.kind or USUAL_KIND
    if kind == "container" and written.get("image") is None:
        # Released clients send none where none is declared.
        written["image"] = f"python:{written.get('python_version') or THIS_PYTHON}-slim"
    if isinstance(written.get("image"), Mapping):
        written["image"] = _with_files(written["image"], context)
    known = {field.name for field in attrs.fields(_class_of(kind))}
    if definition.force and "force" in known:
        written["force"] = True
    if "trusted" in known:
        # Regardless of what the client says.
        written["trusted"] = False
    if "tenant" in known:
        written["tenant"] = owner
    kept = {name: value for name, value in written.items() if value is not None}
    try:
        options = Options(environment={**kept, "kind": kind})
        environment = structure_environment(options, here=False)
    except FalCoreError as error:
        raise Invalid(str(error)) from error
    return environment if machine is None else for_machine(environment, machine)


def _refuse_files(written: Mapping[str, Any]) -> None:
    """Refuse names of files where an option takes them beside other values."""
    packages = written.get("packages")
    for name, values, endings in (
        ("python_version", [written.get("python_version")], (".python-version",)),
        (
            "packages",
            packages if isinstance(packages, list) else [],
            (".yml", ".yaml", ".lock"),
        ),
    ):
        if any(isinstance(each, str) and each.strip().endswith(endings) for each in values):
            raise Invalid(f"Option {name!r} names a file, which this server does not have.")


def _refuse_local_requirements(written: Mapping[str, Any]) -> None:
    """
    Refuse requirements that name a file or a folder: it would be one of this machine, and what
    is in it is nothing for clients.

    Their texts alone are looked at, so that the answer does not say which files there are.

    Raises:
        Invalid: There is one.
    """
    for value in (written.get(name) for name in _REQUIREMENTS):
        entries = value if isinstance(value, list) else []
        layers = [entries, *(each for each in entries if isinstance(each, list))]
        texts = (each for layer in layers for each in _texts_of(layer))
        local = next((each for each in texts if _LOCAL_REQUIREMENT.match(each)), None)
        if local is not None:
            raise Invalid(
                f"Requirement {local[:80]!r} names a file of the client's machine, which this "
                "server does not have. Write what is in it in its place, as in "
                "requirements=open('requirements.txt').read().splitlines()."
            )


def _texts_of(layer: Sequence[Any]) -> list[str]:
    found: list[str] = []
    for each in (entry.strip() for entry in layer if isinstance(entry, str)):
        # A flag and its value may be two entries.
        if found and found[-1] in _WITH_PLACE:
            found[-1] += f" {each}"
        else:
            found.append(each)
    return found


def _refuse_relative_channels(written: Mapping[str, Any]) -> None:
    """
    Refuse channels of conda that are relative to a directory of the client's machine.

    Raises:
        Invalid: There is one.
    """
    described = written.get("env_dict")
    for options in (written, described if isinstance(described, Mapping) else {}):
        channels = options.get("channels")
        for channel in channels if isinstance(channels, list) else ():
            if isinstance(channel, str) and channel.strip().startswith((".", "~")):
                raise Invalid(
                    f"Channel {channel[:80]!r} is a folder of the client's machine, which this "
                    "server does not have. Name the channel by a URL that it reaches."
                )


def _with_files(image: Mapping[str, Any], context: Path | None) -> dict[str, Any]:
    """
    Return *image* with the files in *context*, and without paths of the client's machine: here
    they would name other files.

    Raises:
        Invalid: It is no image that functions run in.
    """
    if image.get("use_isolate") is False:
        raise Invalid(
            "This server runs functions and classes in images, and no image by its own command."
        )
    kept = {name: value for name, value in image.items() if name not in _CONTEXT}
    if "dockerfile_str" not in image:
        return kept
    # The client has left out what is to be ignored.
    return kept | {"context_dir": str(context or os.devnull), "dockerignore": []}


def _class_of(kind: str) -> type[Any]:
    from fal_core.plugins import find_environment

    try:
        return find_environment(kind)
    except UnknownNameError as error:
        # The hint of the error is for the operator who installs plugins here, not for clients.
        known = " and ".join(error.known)
        raise Invalid(
            f"This server has no environments of kind {kind[:80]!r}, it has those of {known}."
        ) from error
    except FalCoreError as error:
        raise Invalid(str(error)) from error


def with_integers(value: Any) -> Any:
    """
    Return *value* with whole floats as integers: JSON messages of protobuf have floats
    alone.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: with_integers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [with_integers(each) for each in value]
    return value
