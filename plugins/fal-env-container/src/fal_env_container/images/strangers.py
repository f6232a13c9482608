"""
Images and options of strangers: what a declaration may not ask for that its machine does not
trust.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fal_core.errors import OptionError
from fal_env_container.images.container_images import ContainerImage
from fal_env_container.images.instructions import Instruction, parse
from fal_env_container.images.sources import find_sources

#: Places that engines take images from beside registries: files and stores of their machine.
_TRANSPORT = re.compile(
    r"(containers-storage|dir|docker-archive|docker-daemon|oci|oci-archive|ostree|sif|tarball):",
    re.I,
)

#: A variable, and one with what cuts a pattern from its value.
_VARIABLE, _CUT = re.compile(r"\$"), re.compile(r"\$\{\w+[#%/]")

#: The kinds of mounts of a step that show it nothing of the machine.
_MOUNTS = ("bind", "cache", "secret", "tmpfs")


def check_image(image: str | ContainerImage) -> None:
    """
    Refuse an image that would read files of this machine, or be built with its rights.

    Raises:
        OptionError: It is such an image.
    """
    if isinstance(image, str):
        _check_name(image)
        return
    text = image.dockerfile_str
    for name in find_sources(text, build_args=image.build_args, platform="linux/amd64").bases:
        _check_name(name)
    for instruction in parse(text):
        if instruction.keyword == "FROM":
            for word in instruction.words[:1]:
                _check_known(word, _CUT)
        for origin in (value for name, value in instruction.flags if name == "from"):
            _check_known(origin, _VARIABLE)
        if instruction.keyword == "RUN":
            _check_step(instruction)


def check_options(volumes: Sequence[str], network: bool | str) -> None:
    """
    Refuse options that would show a container more of this machine than it is given.

    Raises:
        OptionError: One would.
    """
    if volumes:
        raise OptionError(
            "Option 'volumes' names folders of the machine, which are not shown to functions "
            "that it does not trust."
        )
    if not isinstance(network, bool):
        raise OptionError(
            f"Option 'network' is {network!r}: functions that the machine does not trust have "
            "a network of their own, or none. Write True or False."
        )


def _check_name(name: str) -> None:
    found = _TRANSPORT.match(name.strip().strip("\"'"))
    if found is not None:
        raise OptionError(
            f"Image {name!r} would come from a file or a store of the machine ({found[1]}), "
            "and not from a registry. Name one of a registry."
        )


def _check_known(name: str, unknown: re.Pattern[str]) -> None:
    """
    Refuse the *name* of an image that is known in the build alone.
    """
    if unknown.search(name):
        raise OptionError(
            f"The Dockerfile takes {name!r} for an image: write its name out, since what the "
            "variable stands for is known in the build alone."
        )


def _check_step(instruction: Instruction) -> None:
    for name, value in instruction.flags:
        if name in ("security", "device") or (name, value) == ("network", "host"):
            raise OptionError(
                f"The Dockerfile has RUN --{name}={value}, which would give a step what the "
                "machine has. Leave it out."
            )
        if name != "mount":
            continue
        pairs = [part.partition("=") for part in value.split(",")]
        options = {key.strip().lower(): content for key, _, content in pairs}
        kind = options.get("type", "bind")
        if kind not in _MOUNTS:
            raise OptionError(
                f"The Dockerfile mounts what is of type {kind!r} into a step. The types "
                f"{', '.join(_MOUNTS)} can be had."
            )
        _check_known(options.get("from", ""), _VARIABLE)
