"""
Images as an engine has them: what a container of one needs to know.
"""

from __future__ import annotations

from collections.abc import Mapping

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
