"""Images as an engine has them: what a container of one needs to know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from fal_core.reprs import show_fields

#: The name of all images that are built here; their tags are their keys.
REPOSITORY = "localhost/fal-core"

#: How the history of an image tells of an instruction that waits.
_ON_BUILD = re.compile(r"(?:/bin/sh -c #\(nop\) +)?ONBUILD +(.+)", re.DOTALL)


@attrs.frozen(kw_only=True)
class BuiltImage:
    """
    An image that an engine has.

    Attributes:
        id: Its digest, without ``sha256:``. Equal ids are equal images.

        name: How people name it, for messages.

        platform: As in ``linux/amd64``.

        user: The user that its processes are, as in ``app`` or ``1000:1000``; empty for root.

        workdir: The working directory; empty for the root.

        entrypoint: The command that its containers start with.

        variables: The environment variables of its containers.

        triggers: Its ``ONBUILD`` instructions, which run where an image is built on it.

        size: The bytes that it takes on the disk; 0 where the engine does not say.
    """

    __repr__ = show_fields

    id: str
    name: str
    platform: str
    user: str = ""
    workdir: str = ""
    entrypoint: tuple[str, ...] = ()
    variables: Mapping[str, str] = attrs.field(factory=dict)
    triggers: tuple[str, ...] = ()
    size: int = attrs.field(default=0, eq=False)

    @property
    def described(self) -> str:
        """What a sentence about it begins with. Nobody has written the name of one that was built."""
        is_built = self.name.startswith(f"{REPOSITORY}:")
        return "The image of the Dockerfile" if is_built else f"Image {self.name!r}"

    def is_for(self, platform: str | None) -> bool:
        """Tell whether it runs on *platform*; on any where that is None."""
        if platform is None:
            return True
        # A variant, as in linux/arm64/v8, is said by one side at most.
        return self.platform.split("/")[:2] == platform.split("/")[:2]

    @classmethod
    def read(cls, name: str, content: Mapping[str, Any]) -> BuiltImage:
        """Return the image *name*, which an engine describes as *content*."""
        config = content.get("Config") or {}
        pairs = (entry.partition("=") for entry in config.get("Env") or ())
        return cls(
            id=str(content["Id"]).removeprefix("sha256:"),
            name=name,
            platform=f"{content.get('Os', 'linux')}/{content.get('Architecture', '')}",
            user=config.get("User") or "",
            workdir=config.get("WorkingDir") or "",
            entrypoint=tuple(config.get("Entrypoint") or ()),
            variables={variable: value for variable, _, value in pairs},
            triggers=tuple(config.get("OnBuild") or _triggers_in(content.get("History") or ())),
            size=int(content.get("Size") or 0),
        )


def _triggers_in(history: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """
    Yield the ``ONBUILD`` instructions that *history* tells of; Podman shows them nowhere else.

    Those of its base may be among them, which have been run.
    """
    found: list[str] = []
    for step in history:
        if str(step.get("comment", "")).startswith("FROM "):
            found.clear()
        match = _ON_BUILD.fullmatch(str(step.get("created_by", "")))
        if match is not None:
            found.append(match[1])
    yield from found
