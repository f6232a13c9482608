"""What a Dockerfile reads: images that its stages stand on, and paths of the build context."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence

import attrs

from fal_core.errors import OptionError
from fal_core.reprs import show_fields
from fal_env_container.images.instructions import (
    Instruction,
    check_keywords,
    escape_character,
    parse,
)
from fal_env_container.images.substitutions import expand, split_pairs

#: The image that holds nothing.
EMPTY_IMAGE = "scratch"
#: Stands for the whole context.
WHOLE = ""

_REMOTE = ("http://", "https://", "git://", "git@", "ssh://")

#: Arguments that a build has without declaring them.
_PREDEFINED = tuple(
    spelled
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for spelled in (name, name.lower())
)


@attrs.frozen(kw_only=True)
class Sources:
    """
    What the instructions of a Dockerfile read.

    Attributes:
        paths: Paths and patterns in the context, each as ``COPY`` names it, relative to the
            context. An empty one stands for the whole context.

        bases: The names of the images that its stages stand on or copy from.

        urls: What ``ADD`` downloads.

        triggered: Those of *paths* that only an ``ONBUILD`` of a base names. The base may be
            one whose own base has run it already.
    """

    __repr__ = show_fields

    paths: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    triggered: frozenset[str] = frozenset()


@attrs.define
class _Stage:
    """
    One stage: its variables, and what it leaves to the stages that stand on it.

    Attributes:
        stands_on_image: Whether it may have variables of an image that nobody has read.

        triggers: Its ``ONBUILD`` instructions.
    """

    stands_on_image: bool
    triggers: list[str] = attrs.field(factory=list)
    arguments: dict[str, str | None] = attrs.field(factory=dict)
    variables: dict[str, str | None] = attrs.field(factory=dict)

    def lookup(self, name: str) -> str | None:
        for known in (self.variables, self.arguments):
            if name in known:
                return known[name]
        return None if self.stands_on_image else ""


@attrs.define
class _Reader:
    """Goes through the instructions, and collects what they read."""

    build_args: Mapping[str, str]
    platform: str
    escape: str
    triggers: Mapping[str, Sequence[str]]
    paths: dict[str, None] = attrs.field(factory=dict)
    bases: dict[str, None] = attrs.field(factory=dict)
    urls: dict[str, None] = attrs.field(factory=dict)
    stages: list[_Stage] = attrs.field(factory=list)
    names: dict[str, _Stage] = attrs.field(factory=dict)
    first_arguments: dict[str, str | None] = attrs.field(factory=dict)
    triggered: set[str] = attrs.field(factory=set)

    def read(self, instruction: Instruction) -> None:
        method = _METHODS.get(instruction.keyword)
        if method is not None:
            method(self, instruction)

    # -- stages and their variables ------------------------------------------------

    def read_from(self, instruction: Instruction) -> None:
        if not instruction.words:
            return
        lookup = self._lookup_before_stages
        name = expand(instruction.words[0], lookup, escape=self.escape)
        parent = self.names.get((name or "").lower())
        if parent is not None:
            stage = _Stage(
                parent.stands_on_image,
                arguments=dict(parent.arguments),
                variables=dict(parent.variables),
            )
        else:
            self._add_base(name)
            stage = _Stage(stands_on_image=name != EMPTY_IMAGE)
        self.stages.append(stage)
        words = instruction.words
        if len(words) >= 3 and words[1].upper() == "AS":
            self.names[words[2].lower()] = stage
        triggers = self.triggers.get(name or "", ()) if parent is None else parent.triggers
        for trigger in triggers:
            self._read_trigger(trigger)

    def read_onbuild(self, instruction: Instruction) -> None:
        if self.stages:
            self.stages[-1].triggers.append(instruction.text)

    def _read_trigger(self, text: str) -> None:
        """Read an instruction that a base has left to those who build on it."""
        known = set(self.paths)
        for instruction in parse(text):
            if instruction.keyword not in ("FROM", "ONBUILD"):
                self.read(instruction)
        self.triggered |= self.paths.keys() - known

    def read_arg(self, instruction: Instruction) -> None:
        lookup = self._lookup()
        for name, written in split_pairs(instruction.text, escape=self.escape):
            default = "" if written is None else expand(written, lookup, escape=self.escape)
            if written is None and self.stages and name in self.first_arguments:
                default = self.first_arguments[name]
            elif written is None:
                default = self._platform_variables().get(name, default)
            target = self.stages[-1].arguments if self.stages else self.first_arguments
            target[name] = self.build_args.get(name, default)

    def read_env(self, instruction: Instruction) -> None:
        if not self.stages:
            return
        lookup = self._lookup()
        pairs = list(split_pairs(instruction.text, escape=self.escape))
        if pairs and pairs[0][1] is None:
            # ENV NAME the rest of the line
            name, _, rest = instruction.text.partition(" ")
            pairs = [(name, rest.strip())]
        values = {
            name: expand(written or "", lookup, escape=self.escape) for name, written in pairs
        }
        self.stages[-1].variables |= values

    # -- what is read --------------------------------------------------------------

    def read_copy(self, instruction: Instruction) -> None:
        origin = dict(instruction.flags).get("from")
        if origin is not None:
            self._add_origin(origin)
            return
        *sources, _ = instruction.words or ("",)
        inline = set(instruction.heredocs)
        for word in sources:
            if word.lstrip("0123456789").removeprefix("<<").strip("-\"'") in inline:
                continue
            source = self._expand(word)
            if source is not None and source.startswith(_REMOTE):
                self.urls[source] = None
            else:
                self._add_path(source)

    def read_run(self, instruction: Instruction) -> None:
        for flag, value in instruction.flags:
            if flag != "mount":
                continue
            pairs = (part.partition("=") for part in value.split(","))
            options = {name.strip(): content for name, _, content in pairs}
            origin = options.get("from")
            if origin is not None:
                self._add_origin(origin)
            elif options.get("type", "bind") == "bind":
                self._add_path(self._expand(options.get("source") or options.get("src") or "."))

    def _add_origin(self, origin: str) -> None:
        name = self._expand(origin)
        if name is None or name.lower() in self.names or name.isdigit():
            return
        self._add_base(name)

    def _add_base(self, name: str | None) -> None:
        if name and name != EMPTY_IMAGE:
            self.bases[name] = None

    def _add_path(self, path: str | None) -> None:
        # What cannot be known before the build may be any path.
        clean = WHOLE if path is None else posixpath.normpath(f"/{path}").lstrip("/")
        self.paths[clean] = None
        self.triggered.discard(clean)

    # -- values of variables -------------------------------------------------------

    def _expand(self, word: str) -> str | None:
        return expand(word, self._lookup(), escape=self.escape)

    def _lookup(self) -> Callable[[str], str | None]:
        return self._lookup_in_stage if self.stages else self._lookup_before_stages

    def _lookup_in_stage(self, name: str) -> str | None:
        if name in _PREDEFINED and name in self.build_args:
            return self.build_args[name]
        return self.stages[-1].lookup(name)

    def _lookup_before_stages(self, name: str) -> str | None:
        if name in self.first_arguments:
            return self.first_arguments[name]
        return self._platform_variables().get(name, "")

    def _platform_variables(self) -> dict[str, str]:
        system, _, rest = self.platform.partition("/")
        architecture, _, variant = rest.partition("/")
        values = {"PLATFORM": self.platform, "OS": system, "ARCH": architecture}
        values["VARIANT"] = variant
        return {
            f"{side}{name}": value
            for side in ("TARGET", "BUILD")
            for name, value in values.items()
        }


_METHODS: dict[str, Callable[[_Reader, Instruction], None]] = {
    "FROM": _Reader.read_from,
    "ARG": _Reader.read_arg,
    "ENV": _Reader.read_env,
    "COPY": _Reader.read_copy,
    "ADD": _Reader.read_copy,
    "RUN": _Reader.read_run,
    "ONBUILD": _Reader.read_onbuild,
}


def find_sources(
    text: str,
    *,
    build_args: Mapping[str, str] = {},
    platform: str,
    triggers: Mapping[str, Sequence[str]] = {},
) -> Sources:
    """
    Return what the Dockerfile *text* reads, given its arguments and the platform of the image.

    Where a value cannot be known before the build, as that of a variable of the base image,
    the whole context counts as read.

    Arguments:
        triggers: For names of bases their ``ONBUILD`` instructions, as far as they are known.

    Raises:
        OptionError: It is no Dockerfile.
    """
    reader = _Reader(build_args, platform, escape_character(text), triggers)
    instructions = parse(text)
    check_keywords(text, instructions)
    if not any(each.keyword == "FROM" for each in instructions):
        raise OptionError("The Dockerfile has no FROM, which names the image to start from.")
    for instruction in instructions:
        reader.read(instruction)
    return Sources(
        paths=tuple(reader.paths),
        bases=tuple(reader.bases),
        urls=tuple(reader.urls),
        triggered=frozenset(reader.triggered),
    )
