"""
Refusals: the errors that end a realtime session, as its client is told.

    INVALID_MESSAGE     1007    a frame cannot be decoded
    VALIDATION_ERROR    1008    a message is not valid for the handler; the reason names
                                the field
    TIMEOUT             1000    there was no input for too long
    INTERNAL_ERROR      1011    the handler failed; the log says how

An exception that is meant for the client has the name of its status, as in
``NOT_FOUND``. The number is the code that the connection is closed with: 1008 where the
client has to do something else, and 1011 where it is not at fault.
"""

from __future__ import annotations

from http import HTTPStatus

from pydantic import ValidationError
from starlette.exceptions import HTTPException

from fal_serve.answering.logs import log_error
from fal_serve.exceptions import (
    AppException,
    FieldException,
    RequestCancelledException,
    find_gpu_error,
)

#: Close codes of a websocket.
ENDED, UNREADABLE, WRONG, FAILED, RESTARTED = 1000, 1007, 1008, 1011, 1012

#: How many invalid fields a reason names, and how many characters it may have.
_FIELDS = 8
_LENGTH = 2000


class Refused(Exception):
    """
    Ends the session with an *error* and its *reason*, which are sent to the client.

    Arguments:
        code: The close code.
    """

    def __init__(self, error: str, reason: str, code: int) -> None:
        super().__init__(error, reason, code)
        self.error = error
        self.code = code
        self.reason: str = reason if len(reason) <= _LENGTH else f"{reason[:_LENGTH]}…"


def invalid(error: ValidationError) -> Refused:
    """Return the refusal of a message with invalid fields."""
    wrong = error.errors(include_url=False, include_context=False, include_input=False)
    said = []
    for each in wrong[:_FIELDS]:
        place = ".".join(str(part) for part in each["loc"])
        said.append(f"{place}: {each['msg']}" if place else each["msg"])
    if len(wrong) > _FIELDS:
        said.append(f"and {len(wrong) - _FIELDS} more")
    return Refused("VALIDATION_ERROR", "; ".join(said), WRONG)


def refusal_of(error: BaseException) -> Refused | None:
    """Return the refusal for *error*, or None if the client may not know more than that it failed."""
    if isinstance(error, FieldException):
        return Refused("VALIDATION_ERROR", str(error), WRONG)
    if isinstance(error, AppException):
        return _refused(error.status_code, str(error.message))
    if isinstance(error, HTTPException):
        return _refused(error.status_code, str(error.detail))
    if isinstance(error, RequestCancelledException):
        return Refused("CANCELLED", error.message, ENDED)
    gpu = find_gpu_error(error)
    if gpu is None:
        return None
    log_error(error, "The GPU failed.")
    return _refused(gpu.status_code, gpu.message)


def _refused(status: int, reason: str) -> Refused:
    try:
        name = HTTPStatus(status).name
    except ValueError:
        name = f"STATUS_{status}"
    return Refused(name, reason, WRONG if status < 500 else FAILED)
