"""
References: what names stand for until their first use imports it.

A reference to a module is a module whose attributes are those of the real one. A reference to
a member, as from ``from x import y``, passes on all that is done with it. The first use puts
the real object in the place of the reference, where the statement has bound it. In a pickle
both are what an import would find where it is opened.

To name a member of a module that is not here is no use of it yet where a file does so at its
top: annotations, defaults and constants do. That is a reference to the member.
"""

from __future__ import annotations

import operator
import sys
import types
from collections.abc import Callable, Iterable

from fal_core_worker.importing.finding import find, is_missing, open_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fal_core_worker.importing.finding import Parts

#: Returns a sentence about a module that is not there, given its name and the namespace.
Explain = Callable[[str, "dict[str, Any]"], str]

#: The flag of code whose variables are not in a namespace: that of a function.
OPTIMIZED = 0x1
#: What a reference answers for itself: asked by pickle, and by Python for bases of a class.
_OWN = frozenset(("__class__", "__mro_entries__", "__reduce__", "__reduce_ex__"))
#: What test runners and ``inspect`` ask of every object that they come across.
_ASKED = frozenset(("__code__", "__func__", "__self__", "__test__", "__wrapped__"))


class Wanted:
    """
    What a reference stands for.

    Its frames, and those of references, are left out of the tracebacks of notebooks and pytest.

    Attributes:
        parts: The module, those below it, and the member.

        name: The name that it is bound to, in the namespace *space*.

        explain: Says where it is, if not here.

        face: The reference itself.
    """

    __slots__ = ("_found", "_value", "explain", "face", "name", "parts", "space")

    def __init__(
        self, parts: Parts, name: str, space: dict[str, Any], explain: Explain | None
    ) -> None:
        self.parts = parts
        self.name = name
        self.space = space
        self.explain = explain
        self.face: Any = None
        self._found = False
        self._value: Any = None

    def load(self) -> Any:
        """
        Import it, unless it was, and return it.

        Raises:
            ModuleNotFoundError: It is not here.
        """
        __tracebackhide__ = True
        if self._found:
            return self._value
        try:
            value = find(self.parts)
        except ModuleNotFoundError as error:
            if self.explain is None or not is_missing(self.parts, error):
                raise
            sentence = self.explain(str(error.name), self.space)
            raise ModuleNotFoundError(sentence, name=error.name) from None
        self._value, self._found = value, True
        if self.space.get(self.name) is self.face:
            self.space[self.name] = value
        return value

    def reduce(self) -> tuple[Any, ...]:
        """Return it as an import, for pickle."""
        return open_reference, self.parts

    def member(self, name: str, error: ModuleNotFoundError) -> MemberReference:
        """
        Return a reference to the member *name*, where *error* says that this is not here.

        Raises:
            ModuleNotFoundError: The code that asks is that of a function, and uses it.
        """
        __tracebackhide__ = True
        code = sys._getframe(2).f_code
        special = name[:2] == "__"
        if special or code.co_flags & OPTIMIZED or not is_missing(self.parts, error):
            raise error
        module, below, outer = self.parts
        member = name if outer is None else f"{outer}.{name}"
        return MemberReference(Wanted((module, below, member), "", self.space, self.explain))

    def describe(self) -> str:
        """Return its name, as in ``package.member``."""
        module, _, member = self.parts
        return module if member is None else f"{module}.{member}"


class ModuleReference(types.ModuleType):
    """A module that its first use imports."""

    __slots__ = ("_wanted",)

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted.parts[0])
        _wanted_module.__set__(self, wanted)
        wanted.face = self

    def __getattribute__(self, name: str) -> Any:
        __tracebackhide__ = True
        if name in _OWN:
            return object.__getattribute__(self, name)
        wanted = _wanted_module.__get__(self)
        if name == "__name__":
            return wanted.parts[0]
        if name in _ASKED or name == "__module__":
            raise AttributeError(f"module {wanted.parts[0]!r} has no attribute {name!r}")
        if name == "__package__" and wanted.space.get(wanted.name) is self:
            # Picklers look for the modules below it that are in use; there are none yet.
            return None
        try:
            value = wanted.load()
        except ModuleNotFoundError as error:
            return wanted.member(name, error)
        return getattr(value, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_wanted_module.__get__(self).load(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_wanted_module.__get__(self).load(), name)

    def __dir__(self) -> Iterable[str]:
        return dir(_wanted_module.__get__(self).load())

    def __repr__(self) -> str:
        return f"<module {_wanted_module.__get__(self).describe()!r}, imported when it is used>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _wanted_module.__get__(self).reduce()


class MemberReference:
    """A member of a module, whose first use imports that."""

    __slots__ = ("__weakref__", "_wanted")

    def __init__(self, wanted: Wanted) -> None:
        _wanted_member.__set__(self, wanted)
        wanted.face = self

    def __getattribute__(self, name: str) -> Any:
        __tracebackhide__ = True
        if name in _OWN:
            return object.__getattribute__(self, name)
        if name in _ASKED:
            raise AttributeError(name)
        try:
            value = _load(self)
        except ModuleNotFoundError as error:
            if name[:2] == "__":
                # ``typing`` and others ask whether there is one.
                raise AttributeError(str(error)) from error
            return _wanted_member.__get__(self).member(name, error)
        return getattr(value, name)

    def __repr__(self) -> str:
        return f"<{_wanted_member.__get__(self).describe()}, imported when it is used>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _wanted_member.__get__(self).reduce()

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        __tracebackhide__ = True
        return (_load(self),)

    # An annotation may name a member that is not here, and make another one of it.
    def __getitem__(self, item: Any) -> Any:
        __tracebackhide__ = True
        try:
            return _load(self)[item]
        except ModuleNotFoundError:
            if not _is_annotation(item):
                raise
            alias: Any = types.GenericAlias
            return alias(self, item)

    def __or__(self, other: Any) -> Any:
        __tracebackhide__ = True
        try:
            return _load(self) | other
        except ModuleNotFoundError:
            if not _is_annotation(other):
                raise
            from typing import Union

            # Types alone have the operator.
            union: Any = Union
            return union[self, other]

    __ror__ = __or__

    def __hash__(self) -> int:
        try:
            return hash(_load(self))
        except ModuleNotFoundError:
            return object.__hash__(self)

    def __eq__(self, other: object) -> Any:
        try:
            return _load(self) == other
        except ModuleNotFoundError:
            if not _is_annotation(other):
                raise
            return other is self


_wanted_module: Any = vars(ModuleReference)["_wanted"]
_wanted_member: Any = vars(MemberReference)["_wanted"]


def _load(reference: MemberReference) -> Any:
    __tracebackhide__ = True
    return _wanted_member.__get__(reference).load()


def _is_annotation(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_annotation, value))
    return (
        value is None
        or value is Ellipsis
        or isinstance(value, (type, types.GenericAlias, types.UnionType, MemberReference))
        or type(value).__module__ == "typing"
    )


def _pass_on() -> None:
    """Have what is done with a member done with the real one."""

    def forward(name: str, do: Callable[..., Any]) -> None:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            return do(_load(self), *args, **kwargs)

        setattr(MemberReference, name, method)

    def reflect(name: str, do: Callable[..., Any]) -> None:
        def method(self: Any, other: Any) -> Any:
            __tracebackhide__ = True
            return do(other, _load(self))

        setattr(MemberReference, name, method)

    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "pow"):
        forward(f"__{name}__", getattr(operator, name))
        reflect(f"__r{name}__", getattr(operator, name))
    for name in ("lshift", "rshift", "and", "xor"):
        forward(f"__{name}__", getattr(operator, f"__{name}__"))
        reflect(f"__r{name}__", getattr(operator, f"__{name}__"))
    for name in ("lt", "le", "ne", "gt", "ge", "neg", "pos", "abs", "invert", "index"):
        forward(f"__{name}__", getattr(operator, name))
    for name in ("contains", "setitem", "delitem"):
        forward(f"__{name}__", getattr(operator, name))
    plain: tuple[Callable[..., Any], ...] = (
        *(bool, int, float, complex, str, bytes, len, iter, reversed, round, format, dir),
        *(divmod, setattr, delattr),
    )
    for do in plain:
        forward(f"__{do.__name__}__", do)
    forward("__call__", lambda value, *args, **kwargs: value(*args, **kwargs))
    forward("__instancecheck__", lambda value, each: isinstance(each, value))
    forward("__subclasscheck__", lambda value, each: issubclass(each, value))
    for name in ("enter", "exit", "aenter", "aexit", "await", "aiter", "anext", "next"):
        forward(f"__{name}__", _special(f"__{name}__"))
    forward("__fspath__", _special("__fspath__"))


def _special(name: str) -> Callable[..., Any]:
    def call(value: Any, *args: Any) -> Any:
        found = getattr(type(value), name, None)
        if found is None:
            raise TypeError(f"{type(value).__name__!r} object has no {name!r}")
        return found(value, *args)

    return call


_pass_on()


def refer(
    parts: Parts, name: str, space: dict[str, Any], explain: Explain | None
) -> types.ModuleType | MemberReference:
    """
    Return a reference to what *parts* name.

    One that *name* stands for already, to another module below the same one, is returned
    itself, and stands for both.
    """
    module, below, member = parts
    known = space.get(name)
    if type(known) is ModuleReference and member is None:
        wanted = _wanted_module.__get__(known)
        if wanted.parts[0] == module:
            wanted.parts = (module, (*wanted.parts[1], *below), None)
            return known
    wanted = Wanted(parts, name, space, explain)
    return ModuleReference(wanted) if member is None else MemberReference(wanted)


def parts_of(value: Any) -> Parts | None:
    """Return what *value* stands for if it is a reference, without importing that; else None."""
    kind = type(value)
    if kind is ModuleReference:
        parts: Parts = _wanted_module.__get__(value).parts
        return parts
    if kind is MemberReference:
        parts = _wanted_member.__get__(value).parts
        return parts
    return None
