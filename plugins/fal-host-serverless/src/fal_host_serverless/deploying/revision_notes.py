"""The message and the annotations that a revision carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fal_host_serverless.errors import WrongArgument

#: The limits of the service: characters of a message and of a name, the number of
#: annotations, and their size as JSON in bytes.
MESSAGE_LENGTH, KEY_LENGTH, COUNT, SIZE = 2048, 64, 32, 16384
#: Names that the service uses itself.
_RESERVED = frozenset({"annotations", "declared_paths", "message", "openapi", "own_pages"})


def read_notes(
    message: str | None = None, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """
    Return the metadata of a revision with *message* and *annotations*.

    Raises:
        WrongArgument: Something is no text, is too long, or has a reserved name.
    """
    found: dict[str, Any] = {}
    if message is not None:
        _check_message(message)
        found["message"] = message
    if annotations is not None:
        _check_annotations(annotations)
    if annotations:
        found["annotations"] = dict(annotations)
    return found


def _check_message(message: Any) -> None:
    if not isinstance(message, str):
        raise WrongArgument(f"The message of a deployment must be text, not {message!r}.")
    if len(message) > MESSAGE_LENGTH:
        raise WrongArgument(
            f"The message of a deployment has {len(message)} characters. The service accepts "
            f"{MESSAGE_LENGTH}."
        )


def _check_annotations(annotations: Any) -> None:
    if not isinstance(annotations, Mapping):
        raise WrongArgument(
            f"Annotations are written as in {{'commit': '1f2e3d'}}, not {annotations!r}."
        )
    for key, value in annotations.items():
        if not (isinstance(key, str) and key and isinstance(value, str)):
            raise WrongArgument(
                f"An annotation has a name and a text, as in {{'commit': '1f2e3d'}}, not "
                f"{key!r}: {value!r}."
            )
        if key in _RESERVED:
            raise WrongArgument(
                f"An annotation cannot be called {key!r}: the name is reserved."
            )
        if len(key) > KEY_LENGTH:
            raise WrongArgument(
                f"The name of annotation {key!r} has {len(key)} characters. The service "
                f"accepts {KEY_LENGTH}."
            )
    size = len(json.dumps(dict(annotations), ensure_ascii=False).encode())
    if len(annotations) > COUNT or size > SIZE:
        raise WrongArgument(
            f"There are {len(annotations)} annotations of {size} bytes. The service accepts "
            f"{COUNT}, of {SIZE} bytes as JSON."
        )
