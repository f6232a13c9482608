"""
Outcomes: how functions ended.
"""

from __future__ import annotations

import attrs

from fal_server_agent.messages import unpack


@attrs.frozen(kw_only=True)
class CallOutcome:
    """
    How a function ended, as its client reads it; the plane opens none of it.

    Attributes:
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
        Read what an agent has sent.
        """
        header, parts = unpack(message)
        if "failed" in header:
            return cls(failure=header["failed"])
        return cls(
            raised=header["raised"],
            method=header["method"],
            data=parts[0],
            traceback=header.get("traceback", ""),
            type_name=header.get("type", ""),
            text=header.get("message", ""),
        )
