"""Outcomes: what a function returned or raised, still serialized for its client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from fal_server.state.texts import valid_text
from fal_server_agent.messages import UnreadableMessage, unpack


@attrs.frozen(kw_only=True)
class CallOutcome:
    """
    What a function returned or raised. The control plane deserializes none of it.

    Attributes:
        raised: Whether it is an exception.

        method: The module that deserializes *data*.

        data: The serialized value or exception.

        traceback: The traceback of an exception.

        type_name: The name of its class.

        text: Its message.

        failure: Why there is no outcome. Empty where there is one.
    """

    raised: bool = False
    method: str = ""
    data: bytes = attrs.field(default=b"", repr=False)
    traceback: str = ""
    type_name: str = ""
    text: str = ""
    failure: str = ""

    @classmethod
    def read(cls, message: bytes) -> CallOutcome:
        """
        Read the message of an agent.

        Raises:
            UnreadableMessage: It is none.
        """
        header, parts = unpack(message)
        if "failed" in header:
            return cls(failure=_text(header, "failed"))
        if type(header.get("raised")) is not bool or len(parts) != 1:
            raise UnreadableMessage("it says neither that it returned nor that it raised")
        return cls(
            raised=header["raised"],
            method=_text(header, "method"),
            data=parts[0],
            traceback=_text(header, "traceback"),
            type_name=_text(header, "type"),
            text=_text(header, "message"),
        )


def _text(header: Mapping[str, Any], name: str) -> str:
    text = header.get(name, "")
    if type(text) is not str:
        raise UnreadableMessage(f"its {name!r} is no text")
    return valid_text(text)
