"""
Classes that travel by value. They are made once at each end, and have an identity.

A class is sent whole the first time, and by its identity afterwards. Opening it never
changes a class that exists already.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from enum import Enum
from typing import Any

from cloudpickle import cloudpickle

from fal_core_worker.annotations import annotations_of
from fal_core_worker.opening.models import is_model, meet_model, note_model, versions
from fal_core_worker.opening.origins import publish
from fal_core_worker.opening.unpickling import collect_class

_unfinished: set[str] = set()

Reduced = tuple[Any, ...]


def identity(cls: type) -> str:
    """Return the identity of *cls*, which is the same at both ends."""
    name: str = cloudpickle._get_or_create_tracker_id(cls)
    return name


def find_class(name: str, module: str, qualname: str) -> type:
    """
    Return the class whose identity is *name*, or else the one found by its names.

    The names serve a process that has never received the class, such as a later run of
    the same script.
    """
    cls = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(name)
    if cls is None:
        try:
            cls = sys.modules.get(module) or __import__(module, fromlist=["_"])
            for part in qualname.split("."):
                cls = getattr(cls, part)
        except (ImportError, AttributeError):
            raise LookupError(f"class {qualname!r} of {module!r} is not here") from None
    found: type = cls
    return found


def reduce_to_identity(cls: type) -> Reduced:
    """Reduce *cls* for a process that has it already."""
    return find_class, (identity(cls), cls.__module__, cls.__qualname__)


def reduce_to_value(cls: type) -> Reduced:
    """Reduce *cls* to all that it is made of."""
    if issubclass(cls, Enum):
        return _reduce_enum(cls)
    constructor, arguments, (content, slots), *_ = cloudpickle._dynamic_class_reduce(cls)
    content = {
        name: value
        for name, value in content.items()
        if not isinstance(value, types.MemberDescriptorType) or value.__objclass__ is not cls
    }
    if "__pydantic_parent_namespace__" in content:
        # It holds everything in scope of the class, and the schema does not need it.
        content["__pydantic_parent_namespace__"] = None
    if sys.version_info >= (3, 14):
        # They are made when they are read, by code that stays behind.
        content.pop("__annotations_cache__", None)
        content["__annotations__"] = annotations_of(cls)
    if "__slots__" in content and not issubclass(cls, tuple):
        # Slots must be given as the class is made: set later, its instances have none.
        names = content.pop("__slots__")
        given = {**arguments[3], "__slots__": names if isinstance(names, str) else tuple(names)}
        arguments = (*arguments[:3], given, *arguments[4:])
    state = (content, slots)
    if is_model(cls):
        made = (constructor, arguments, versions())
        return make_model, made, state, None, None, fill_class
    return make_class, (constructor, arguments), state, None, None, fill_class


def _reduce_enum(cls: type[Enum]) -> Reduced:
    _, arguments, (state, slots), *_ = cloudpickle._dynamic_class_reduce(cls)
    members = cls.__members__
    # The state of cloudpickle has neither aliases nor attributes of members.
    values = {name: member.value for name, member in members.items()}
    for name in members:
        state.pop(name, None)
    carried = {
        name: {key: value for key, value in vars(member).items() if not key.endswith("_")}
        for name, member in members.items()
    }
    slots = {**slots, "members": carried}
    arguments = (*arguments[:3], values, *arguments[4:])
    constructor = cloudpickle._make_skeleton_enum
    return make_class, (constructor, arguments), (state, slots), None, None, fill_class


def make_class(constructor: Callable[..., type], arguments: tuple[Any, ...]) -> type:
    """Return the class of that identity. If it is new, it is made empty, to be filled later."""
    name: str = arguments[-2]
    cls: type | None = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(name)
    if cls is None:
        cls = constructor(*arguments)
        _unfinished.add(name)
    collect_class(cls)
    return cls


def make_model(
    constructor: Callable[..., type], arguments: tuple[Any, ...], sent: tuple[str, str]
) -> type:
    """Return the pydantic model of that identity, which a sender of versions *sent* made."""
    meet_model(sent)
    cls = make_class(constructor, arguments)
    note_model(cls, is_new=arguments[-2] in _unfinished)
    return cls


def fill_class(cls: type, state: tuple[dict[str, Any], dict[str, Any]]) -> bool:
    """Fill *cls* if :func:`make_class` has just made it. Return whether it had."""
    name = identity(cls)
    publish(cls)
    if name not in _unfinished:
        return False
    content, slots = state
    members = slots.pop("members", {})
    cloudpickle._class_setstate(cls, (content, slots))
    for member, carried in members.items():
        vars(getattr(cls, member)).update(carried)
    _unfinished.discard(name)
    return True
