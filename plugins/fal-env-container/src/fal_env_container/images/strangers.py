"""
Images and options of strangers: what a declaration may not ask for that its machine does not
trust.

What is read here in another way than the builder reads it would be built all the same. So
where builders differ, or know more ways to write a thing, one of them is taken.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from fal_core.errors import OptionError
from fal_env_container.images.container_images import ContainerImage
from fal_env_container.images.instructions import KEYWORDS, Instruction, parse
from fal_env_container.images.sources import find_sources

#: Places that engines take images from beside registries: files and stores of their machine.
_TRANSPORT = re.compile(
    r"(containers-storage|dir|docker-archive|docker-daemon|oci|oci-archive|ostree|sif|tarball):",
    re.I,
)

#: A variable; one with what cuts a pattern from its value, or that depends on another; and one
#: whose value depends on the machine.
_VARIABLE = re.compile(r"\$")
_PLATFORM = r"(?:BUILD|TARGET)(?:PLATFORM|OS|ARCH|VARIANT)"
_UNKNOWN = re.compile(rf"\$\{{\w+[#%/]|\$\{{[^}}]*\$|\$\{{{_PLATFORM}[^\w}}]")
_OF_MACHINE = re.compile(rf"\$\{{?{_PLATFORM}\b")

#: The kinds of mounts of a step that show it nothing of the machine.
_MOUNTS = ("bind", "cache", "secret", "tmpfs")

#: A comment that changes how the rest is read, and those that change nothing.
_DIRECTIVE = re.compile(r"^\W*#\s*(escape|syntax)\s*=\s*(\S*)", re.I | re.M)
_PLAIN_DIRECTIVE = re.compile(r"\\|(?:docker\.io/)?docker/dockerfile(?::[\w.-]+)?")

#: Names by which engines find images that only their machine has: the beginning of a digest,
#: and what is built here, for others too.
_OF_OTHERS = re.compile(r"(?:sha256:)?[0-9a-f]+|(?:localhost/)?fal-core(?:[:@].*)?", re.I)

#: What an engine fetches itself for ``ADD``, and what may be that once it is read.
_REMOTE = re.compile(r"://|^[\w.-]+@|@.*:|^github\.com/|\.git(?:[#:/]|$)|[$\"'\\]", re.I)

#: How the names of files end that could be taken for names of packages.
_FILES = (".whl", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip", ".txt", "pyproject.toml")

#: Flags of pip that name no place.
_HARMLESS = ("--pre", "--no-deps")

#: The most images of a Dockerfile: an engine may have to be asked for each of them.
_MOST_BASES = 100

#: The argument of a build that has another program read the Dockerfile.
_SYNTAX = "BUILDKIT_SYNTAX"


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
    if _SYNTAX in image.build_args:
        raise OptionError(f"Leave the build argument {_SYNTAX!r} out.")
    for found in _DIRECTIVE.finditer(text):
        if not _PLAIN_DIRECTIVE.fullmatch(found[2]):
            raise OptionError(
                f"The Dockerfile has '# {found[1]}={found[2]}', after which it would be read "
                "in another way. Leave it out."
            )
    bases = find_sources(text, build_args=image.build_args, platform="linux/amd64").bases
    if len(bases) > _MOST_BASES:
        raise OptionError(
            f"The Dockerfile stands on {len(bases)} images, and may stand on {_MOST_BASES}."
        )
    for name in bases:
        _check_name(name)
    has_stages = False
    for instruction in parse(text):
        has_stages |= instruction.keyword == "FROM"
        if instruction.keyword == "ARG" and not has_stages:
            _check_known(instruction.text, _UNKNOWN)
            _check_known(instruction.text, _OF_MACHINE)
        _check_instruction(instruction)
    _check_origins(parse(text))
    # A builder may see the end of a heredoc where there is none here, or no heredoc at all.
    _check_origins(parse(text, heredocs=False))
    for instruction in parse(text, heredocs=False):
        if instruction.keyword == "FROM":
            _check_place("".join(instruction.words[:1]))
        elif instruction.keyword == "RUN":
            _check_flags(instruction)
            _check_step(instruction)
        elif instruction.keyword == "ADD":
            _check_added(instruction)


def check_triggers(name: str, triggers: Sequence[str]) -> None:
    """
    Refuse the image *name* to stand on if an ``ONBUILD`` of it would get what a Dockerfile
    may not ask for.

    Raises:
        OptionError: One would.
    """
    for trigger in triggers:
        try:
            for instruction in parse(trigger):
                _check_instruction(instruction)
                _check_names(instruction)
        except OptionError as error:
            raise OptionError(f"Image {name!r} has 'ONBUILD {trigger}'. {error}") from None


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


def check_requirements(entries: Iterable[object]) -> None:
    """
    Refuse requirements that are no versions of an index: uv runs outside of the container.

    What is at a URL may require files of this machine, and URLs with variables of it.

    Their texts alone are looked at: what a stranger is told does not depend on which files
    there are.

    Raises:
        OptionError: One is.
    """
    from fal_uv.requirements.url_credentials import mask

    for entry in entries:
        if isinstance(entry, str) and not _is_version(entry):
            raise OptionError(
                f"Requirement {mask(entry)!r} is a file or a URL, or names one, which would "
                "be fetched with the rights of the machine. Name a version of an index, and "
                "install all else in the Dockerfile."
            )


def check_places(**places: object) -> None:
    """
    Refuse options that name a file of this machine, or an index that uv would ask in its
    network.

    Raises:
        OptionError: One is given.
    """
    for name, value in places.items():
        if value:
            raise OptionError(
                f"Option {name!r} names a place that would be read with the rights of the "
                "machine. Leave it out, and install what is there in the Dockerfile."
            )


def _is_version(entry: str) -> bool:
    """Return whether *entry* names a version of an index, or is a flag that names no place."""
    text = entry.strip()
    if not text.isprintable() or "$" in text:
        return False
    if text in _HARMLESS:
        return True
    name = re.sub(r"\[[^\]]*\]\s*$", "", text.partition(";")[0].rstrip()).rstrip()
    is_path = name.startswith(("-", ".", "~")) or name.endswith(_FILES)
    return not is_path and not re.search(r"[/\\:@]", name)


def _check_name(name: str) -> None:
    _check_place(name)
    if name.startswith("-") or _OF_OTHERS.fullmatch(name.strip("\"'")):
        raise OptionError(
            f"Image {name!r} would be found among those that the machine has built, by a name "
            "or a digest of its own. Name one of a registry."
        )


def _check_place(name: str) -> None:
    found = _TRANSPORT.match(name.strip().strip("\"'"))
    if found is not None:
        raise OptionError(
            f"Image {name!r} would come from a file or a store of the machine ({found[1]}), "
            "and not from a registry. Name one of a registry."
        )


def _check_origins(instructions: Iterable[Instruction]) -> None:
    """Refuse images of *instructions* that are no stages before them."""
    stages: list[str] = []
    for instruction in instructions:
        if instruction.keyword != "FROM":
            _check_names(instruction, stages)
            continue
        words = instruction.words
        is_named = len(words) == 3 and words[1].upper() == "AS"
        if is_named or len(words) == 1:
            for name in words[:1]:
                if name.lower() not in stages:
                    _check_name(name)
        # A stage is known by its number, too.
        number = sum(each.isdigit() for each in stages)
        stages += [str(number), *(words[2].lower() for _ in range(is_named))]


def _check_known(name: str, unknown: re.Pattern[str]) -> None:
    """Refuse the *name* of an image that is known in the build alone."""
    if unknown.search(name):
        raise OptionError(
            f"The Dockerfile takes {name!r} for an image: write its name out, since what the "
            "variable stands for is known in the build alone."
        )


def _check_instruction(instruction: Instruction) -> None:
    keyword = instruction.keyword
    # A builder that knows more would run what nobody has looked at.
    if keyword not in KEYWORDS:
        raise OptionError(
            f"Line {instruction.line} of the Dockerfile begins with {keyword[:40]!r}, which is "
            "no instruction."
        )
    _check_flags(instruction)
    if keyword == "ONBUILD":
        for each in parse(instruction.text):
            _check_instruction(each)
            _check_names(each)
    if keyword == "FROM":
        for word in instruction.words[:1]:
            _check_known(word, _UNKNOWN)
    for origin in (value for name, value in instruction.flags if name == "from"):
        _check_known(origin, _VARIABLE)
    if keyword == "RUN":
        _check_step(instruction)
    elif keyword == "ADD":
        _check_added(instruction)


def _check_flags(instruction: Instruction) -> None:
    """Refuse options that a builder may take for others than they seem to be."""
    odd = next((value for _, value in instruction.flags if re.search(r"[\"'\\]", value)), None)
    if odd is None and instruction.text.startswith("--"):
        odd = instruction.text.split(None, 1)[0]
    if odd is not None:
        raise OptionError(
            f"Line {instruction.line} of the Dockerfile has an option with {odd[:80]!r}. Write "
            "options as in --mount=type=cache,target=/root/.cache, without quotes and "
            "backslashes."
        )


def _check_names(instruction: Instruction, stages: Collection[str] = ()) -> None:
    """Refuse images of *instruction* that are none of *stages*."""
    for name, value in instruction.flags:
        pairs = [part.partition("=") for part in value.split(",")] if name == "mount" else []
        origins = [origin for key, _, origin in pairs if key.strip().lower() == "from"]
        for origin in (*origins, *([value] if name == "from" else [])):
            if origin.strip().lower() not in stages:
                _check_name(origin)


def _check_added(instruction: Instruction) -> None:
    """Refuse what the engine itself would fetch, in the network of the machine."""
    from fal_uv.requirements.url_credentials import mask

    for word in instruction.words[:-1]:
        if not word.startswith("<<") and _REMOTE.search(word):
            raise OptionError(
                f"The Dockerfile adds {mask(word)[:80]!r}, which the engine may fetch in the "
                "network of the machine. Name files with COPY, and fetch what is elsewhere in "
                "a step, with RUN."
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
