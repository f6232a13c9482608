"""
Refusals: what the client of a realtime session is told when it ends with an error.

    INVALID_MESSAGE     a frame is no message
    VALIDATION_ERROR    a message is not what the handler takes; the reason names the field
    TIMEOUT             there was no input for too long
    INTERNAL_ERROR      the handler failed; the log says how

What a handler raises to tell the client of goes by the name of its status, as in
``NOT_FOUND``.
"""

from __future__ import annotations

from http import HTTPStatus

from pydantic import ValidationError
from starlette.exceptions import HTTPException

from fal_serve.exceptions import (
    AppException,
    FieldException,
    RequestCancelledException,
    find_gpu_error,
)
from fal_serve.logs import log_error

#: How many wrong fields a reason names, and how long it may be.
_FIELDS = 8
_LENGTH = 2000


class Refused(Exception):
    """
    The client is told an *error*, with its *reason*, and the session ends.
    """

    def __init__(self, error: str, reason: str) -> None:
        super().__init__(error, reason)
        self.error = error
        self.reason = reason if len(reason) <= _LENGTH else f"{reason[:_LENGTH]}…"


def invalid(error: ValidationError) -> Refused:
    """
    Return the refusal of a message whose fields are wrong.
    """
    wrong = error.errors(include_url=False, include_context=False, include_input=False)
    said = []
    for each in wrong[:_FIELDS]:
        place = ".".join(str(part) for part in each["loc"])
        said.append(f"{place}: {each['msg']}" if place else each["msg"])
    if len(wrong) > _FIELDS:
        said.append(f"and {len(wrong) - _FIELDS} more")
    return Refused("VALIDATION_ERROR", "; ".join(said))


def refusal_of(error: BaseException) -> Refused | None:
    """
    Return what the client may know of *error*; None where that is nothing.
    """
    if isinstance(error, FieldException):
        return Refused("VALIDATION_ERROR", str(error))
    if isinstance(error, AppException):
        return Refused(_name(error.status_code), str(error.message))
    if isinstance(error, HTTPException):
        return Refused(_name(error.status_code), str(error.detail))
    if isinstance(error, RequestCancelledException):
        return Refused("CANCELLED", error.message)
    gpu = find_gpu_error(error)
    if gpu is None:
        return None
    log_error(error, "The GPU failed.")
    return Refused(_name(gpu.status_code), gpu.message)


def _name(status: int) -> str:
    try:
        return HTTPStatus(status).name
    except ValueError:
        return f"STATUS_{status}"
