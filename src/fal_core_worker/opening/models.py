"""
Pydantic models that travel by value, from one pydantic to another.

A model holds a schema that its pydantic has built. Another minor of pydantic builds the
schema again. If it cannot, the error names both versions.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The versions of pydantic and of pydantic_core.
Versions = tuple[str, str]

# Guarded by the lock that is held while code is opened: the versions that the last model
# came from, and the models that came from another minor.
_met: list[Versions] = []
_foreign: list[Any] = []
# Models whose schemas are not built yet, or could not be built.
_broken: set[Any] = set()


def is_model(cls: type) -> bool:
    """Tell whether *cls* is a model or dataclass of pydantic 2."""
    return "__pydantic_core_schema__" in vars(cls)


def versions() -> Versions:
    """Return the versions of this process. They are empty if pydantic is not imported."""
    # Wherever there is a model they have been imported.
    pydantic, core = sys.modules.get("pydantic"), sys.modules.get("pydantic_core")
    return getattr(pydantic, "VERSION", ""), getattr(core, "__version__", "")


def meet_model(sent: Versions) -> None:
    """Note that a model has arrived from a sender with the versions *sent*."""
    _met[:] = [sent]


def note_model(cls: Any, *, is_new: bool) -> None:
    """Note *cls*, the model that arrived last, if its schema has to be built again."""
    if cls in _broken or (is_new and _minor(_met[-1]) != _minor(versions())):
        _broken.add(cls)
        _foreign.append(cls)


def forget_models() -> None:
    """Forget the models of what was opened before."""
    _met.clear()
    _foreign.clear()


def rebuild_models() -> None:
    """
    Build the schemas of models that came from another minor again.

    Without this, pydantic may accept the old schema without an error, and the models
    stay empty.
    """
    while _foreign:
        cls = _foreign.pop()
        if cls not in _broken:
            continue
        if hasattr(cls, "model_rebuild"):
            cls.model_rebuild(force=True)
        else:
            dataclasses: Any = __import__("pydantic.dataclasses", fromlist=["_"])
            dataclasses.rebuild_dataclass(cls, force=True)
        _broken.discard(cls)


def explain_models(*, from_caller: bool) -> str:
    """
    Return why a model that arrived may not open here, as text to append to an error.

    It is empty if both ends have the same versions.

    Arguments:
        from_caller: Whether the caller of the function has sent it, not the worker.
    """
    here = versions()
    if not _met or _met[-1] == here:
        return ""
    sent = _met[-1]
    caller, environment = (sent, here) if from_caller else (here, sent)
    return (
        f". It holds a pydantic model: the caller has pydantic {_text(caller)}, and the "
        f"environment {_text(environment)}. Let both have one version: write "
        f"'pydantic=={caller[0]}' in requirements, or install pydantic {environment[0]} "
        "where the caller runs."
    )


def _text(told: Versions) -> str:
    return f"{told[0]} with pydantic_core {told[1]}"


def _minor(told: Versions) -> list[str]:
    return told[0].split(".")[:2]
