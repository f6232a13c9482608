"""Errors of builds: what rattler and uv say, without credentials, and what to do about it."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from fal_core.errors import EnvironmentBuildError
from fal_env_conda.building.prefixes import KIND
from fal_env_conda.declaring.channels import Credentials, strip_all

_DIRECTORIES = "the variables FAL_CORE_CACHE and RATTLER_CACHE_DIR"
_FULL = f"The disk is full. Free some space, or name other directories with {_DIRECTORIES}."
_UNWRITABLE = f"A directory cannot be written. Name other ones with {_DIRECTORIES}."

#: What rattler says of a package that no channel has.
_NOT_FOUND = "No candidates were found"

#: Sentences for what rattler says, by a part of that.
_ADVICE = {
    f"os error {errno.ENOSPC})": _FULL,
    f"os error {errno.EDQUOT})": _FULL,
    f"os error {errno.EROFS})": _UNWRITABLE,
    f"os error {errno.EACCES})": _UNWRITABLE,
    "no eligible writable layers": _UNWRITABLE,
    "cannot be longer than the placeholder": "The path of the environment is longer than the "
    "package has room for. Name a shorter directory with the variable FAL_CORE_CACHE.",
    "401 Unauthorized": "The channel asks who you are. Write a user and a password into its "
    "URL or ~/.netrc, or a token into its URL.",
    "403 Forbidden": "The channel lets others in. Write another user and password, or another "
    "token, into its URL.",
    "__cuda": "The machine has no such driver for CUDA, '__cuda', as packages need. Name a "
    "machine type with GPUs, or say what the machine has with the variable "
    "CONDA_OVERRIDE_CUDA.",
    "no usable repodata cache": "No network may be used, since CONDA_OFFLINE is set.",
}


def error_of_rattler(
    message: str,
    lines: Iterable[str],
    credentials: Iterable[Credentials],
    channels: Iterable[str] = (),
) -> EnvironmentBuildError:
    """
    Return the error for what rattler says, with all of its reasons.

    Arguments:
        lines: What was printed before.

        channels: Where packages are looked for.
    """
    reason = strip_all(message, credentials).strip()
    advice = next((each for part, each in _ADVICE.items() if part in reason), None)
    whole = reason if advice is None else f"{advice} {reason}"
    if _NOT_FOUND in reason and (searched := ", ".join(channels)):
        whole = f"{whole}\nPackages were looked for in these channels: {searched}"
    return EnvironmentBuildError(KIND, whole, None, tuple(lines)[-20:], ())


def without_credentials(
    error: EnvironmentBuildError, credentials: tuple[Credentials, ...]
) -> EnvironmentBuildError:
    """Return *error* without the *credentials* of channels, which uv may have quoted."""

    def masked(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(strip_all(text, credentials) for text in texts)

    return EnvironmentBuildError(
        error.kind,
        strip_all(error.reason, credentials),
        error.requirement and strip_all(error.requirement, credentials),
        masked(error.lines),
        None if error.unsaid is None else masked(error.unsaid),
    )
