"""
Outcomes: what a function returned or raised, still serialized for its client.
"""

from __future__ import annotations

import attrs

from fal_server.state.texts import valid_text
from fal_server_agent.messages import unpack


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
        """
        header, parts = unpack(message)
        if "failed" in header:
            return cls(failure=valid_text(header["failed"]))
        return cls(
            raised=header["raised"],
            method=header["method"],
            data=parts[0],
            traceback=valid_text(header.get("traceback", "")),
            type_name=valid_text(header.get("type", "")),
            text=valid_text(header.get("message", "")),
        )
