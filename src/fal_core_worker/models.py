"""
Pydantic models that travel by value: they are made of parts of one pydantic.

Another minor builds their schemas anew. Where it cannot, the error names both versions.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The versions of pydantic and of pydantic_core.
Versions = tuple[str, str]

# Under the lock that is held while code is opened: what the last model was made with,
# and those that were made of the parts of another minor.
_met: list[Versions] = []
_foreign: list[Any] = []
# Those whose schemas are not built yet, or could not be.
_broken: set[Any] = set()


def is_model(cls: type) -> bool:
    """
    Tell whether *cls* is made of what pydantic 2 builds for it.
    """
    return "__pydantic_core_schema__" in vars(cls)


def versions() -> Versions:
    """
    Return those of this process; they are empty where none is imported.
    """
    # A model that is here, or has just been made, has had them imported.
    pydantic, core = sys.modules.get("pydantic"), sys.modules.get("pydantic_core")
    return getattr(pydantic, "VERSION", ""), getattr(core, "__version__", "")


def meet_model(sent: Versions) -> None:
    """
    Note that a model comes of a sender that has the versions *sent*.
    """
    _met[:] = [sent]


def note_model(cls: Any, *, is_new: bool) -> None:
    """
    Note *cls*, the model that was met last, where its schema has to be built here.
    """
    if cls in _broken or (is_new and _minor(_met[-1]) != _minor(versions())):
        _broken.add(cls)
        _foreign.append(cls)


def forget_models() -> None:
    """
    Begin to open something else.
    """
    _met.clear()
    _foreign.clear()


def rebuild_models() -> None:
    """
    Build the schemas of models that came from another minor for this one.

    Those that came may be taken without an error, and hold nothing.
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
    Return why a model that was met may not open here, as the end of a sentence and more;
    empty if it should.

    Arguments:
        from_caller: Whether the caller of a function has sent it.
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
