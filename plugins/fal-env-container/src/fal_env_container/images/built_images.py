"""
Images as an engine has them: what a container of one needs to know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from fal_core.reprs import show_fields


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
    """

    __repr__ = show_fields

    id: str
    name: str
    platform: str
    user: str = ""
    workdir: str = ""
    entrypoint: tuple[str, ...] = ()
    variables: Mapping[str, str] = attrs.field(factory=dict)

    def is_for(self, platform: str | None) -> bool:
        """
        Tell whether it runs on *platform*; on any where that is None.
        """
        if platform is None:
            return True
        # A variant, as in linux/arm64/v8, is said by one side at most.
        return self.platform.split("/")[:2] == platform.split("/")[:2]

    @classmethod
    def read(cls, name: str, content: Mapping[str, Any]) -> BuiltImage:
        """
        Return the image *name*, which an engine describes as *content*.
        """
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
        )
