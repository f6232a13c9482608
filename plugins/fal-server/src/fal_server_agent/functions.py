"""Functions: how the agent opens what a client has serialized or named."""

from __future__ import annotations

import hashlib
import importlib
from typing import Any

from fal_core_worker.annotations import signature_of

#: The module that serializes a result where the client named none.
DEFAULT_METHOD = "pickle"


def open_function(header: dict[str, Any], parts: list[bytes]) -> Any:
    """
    Return the function of a message: the one its entry point names, or the serialized one.

    Any error that opening it raises is the user's.
    """
    if header.get("entrypoint"):
        return resolve(header["entrypoint"])
    return load(header.get("method") or DEFAULT_METHOD, parts[0])


def open_arguments(header: dict[str, Any], parts: list[bytes]) -> list[Any]:
    """
    Return the arguments of a message that do not come with its function: one or none.

    Any error that opening it raises is the user's.
    """
    given = header.get("argument")
    if given is None:
        return []
    return [load(given["method"] or DEFAULT_METHOD, parts[given["part"]])]


def load(method: str, data: bytes) -> Any:
    """Deserialize what a client has sent, with the module *method*."""
    support_tracebacks()
    return importlib.import_module(method).loads(data)


def resolve(entrypoint: str) -> Any:
    """Import what *entrypoint* names, as in ``package.module:attribute.path``."""
    module, colon, path = entrypoint.partition(":")
    if not module or not colon or not path:
        raise ValueError(f"{entrypoint!r} is not an entry point like 'module:attribute'.")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found


def digest(method: str, data: bytes) -> str:
    """Return the key under which the result of a setup function is kept."""
    return hashlib.sha256(method.encode() + b"\0" + data).hexdigest()


def wants(function: Any, name: str) -> bool:
    """Tell whether *function* takes the keyword *name*."""
    try:
        # A wrapper has the signature of the original, to which it passes everything on.
        parameters = signature_of(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        each.name == name and each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)
        for each in parameters
    )


def support_tracebacks() -> None:
    """Pickle exceptions with their tracebacks from now on, where ``tblib`` is installed."""
    try:
        from tblib.pickling_support import install  # type: ignore[import-untyped]  # no types
    except ImportError:
        return
    install()
