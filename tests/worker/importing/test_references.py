"""References: what stands for a module, or a member of one, until it is used."""

from __future__ import annotations

import copy
import pickle
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fal_core_worker.importing.references import (
    MemberReference,
    ModuleReference,
    parts_of,
    refer,
)

VALUES = """
from contextlib import contextmanager

number, text, items, table = 7, "words", [3, 1, 2], {"a": 1}
hook = None

class Base:
    @classmethod
    def name(cls): return cls.__name__

@contextmanager
def opened():
    yield "open"

async def later(): return "done"
async def numbers(): yield 1

waiting = None
path = __import__("pathlib").Path("/tmp")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a reference to a member of a module that is here, or to the module itself."""
    (tmp_path / "here_values.py").write_text(VALUES)
    monkeypatch.syspath_prepend(tmp_path)

    def make(member: str | None = None) -> Any:
        return refer(("here_values", (), member), "", {}, None)

    yield make
    sys.modules.pop("here_values", None)


def explain(module: str, space: dict[str, Any]) -> str:
    return f"{module} is elsewhere, say {sorted(space)}."


def absent(member: str | None = None) -> Any:
    return refer(("absent", (), member), "name", {"f": 1}, explain)


USES: dict[str, tuple[str, Callable[[Any], Any], Any]] = {
    "attribute": ("text", lambda value: value.upper(), "WORDS"),
    "call": ("Base", lambda value: type(value()).__name__, "Base"),
    "add": ("number", lambda value: value + 1.5, 8.5),
    "reflected": ("number", lambda value: 10 - value, 3),
    "or": ("number", lambda value: (value | 8, 8 | value), (15, 15)),
    "compare": (
        "number",
        lambda value: (value == 7, value != 7, value < 8),
        (True, False, True),
    ),
    "negate": ("number", lambda value: -value, -7),
    "index": ("number", lambda value: list(range(9))[value], 7),
    "convert": (
        "number",
        lambda value: (int(value), float(value), bool(value)),
        (7, 7.0, True),
    ),
    "format": ("number", lambda value: (str(value), f"{value:03}"), ("7", "007")),
    "divmod": ("number", lambda value: divmod(value, 2), (3, 1)),
    "length": ("items", lambda value: (len(value), 3 in value, value[0]), (3, True, 3)),
    "iterate": (
        "items",
        lambda value: (sorted(value), list(reversed(value))),
        ([1, 2, 3], [2, 1, 3]),
    ),
    "set": ("table", lambda value: (value.__setitem__("b", 2), sorted(value))[1], ["a", "b"]),
    "hash": ("text", lambda value: {"words": 1}[value], 1),
    "instance": ("Base", lambda value: isinstance(value(), value), True),
    "subclass": ("Base", lambda value: issubclass(int, value), False),
    "path": ("path", lambda value: __import__("os").fspath(value), "/tmp"),
    "directory": ("items", lambda value: "append" in dir(value), True),
}


@pytest.mark.parametrize("use", USES)
def test_a_member_passes_on_what_is_done_with_it(here: Any, use: str) -> None:
    """Each use of a member is one of the real one, whatever it is."""
    member, do, expected = USES[use]
    value = here(member)
    assert "here_values" not in sys.modules
    assert do(value) == expected


def test_a_member_as_base_and_context(here: Any) -> None:
    """A class may be made of one, and a block may enter what it gives."""
    base, opened = here("Base"), here("opened")

    class Own(base):  # type: ignore[misc]  # the checker sees a variable
        pass

    assert Own.name() == "Own"
    with opened() as state:
        assert state == "open"


def test_members_of_asynchronous_code(here: Any) -> None:
    """What is awaited and iterated in an event loop is what the real one gives."""
    import asyncio

    later, numbers = here("later"), here("numbers")

    async def use() -> list[Any]:
        return [await later(), *[each async for each in numbers()]]

    assert asyncio.run(use()) == ["done", 1]


def test_attributes_of_modules_and_members_are_set(here: Any) -> None:
    """What is set or deleted is so in the real module."""
    module = here()
    module.hook = 5
    assert sys.modules["here_values"].hook == 5
    del module.hook
    assert not hasattr(sys.modules["here_values"], "hook")
    base = here("Base")
    base.size = 3
    assert sys.modules["here_values"].Base.size == 3
    assert "Base" in dir(module)


def test_the_first_use_puts_the_real_one_in_place(here: Any) -> None:
    """The name that was bound is bound to the real object, unless it means something else by now."""
    space: dict[str, Any] = {}
    kept = space["mod"] = refer(("here_values", (), None), "mod", space, None)
    other = space["other"] = refer(("here_values", (), "text"), "other", space, None)
    space["other"] = "mine"
    assert (kept.number, other.upper()) == (7, "WORDS")
    assert space == {"mod": sys.modules["here_values"], "other": "mine"}
    assert kept.number == 7


def test_looking_is_no_use(here: Any) -> None:
    """Test runners and debuggers look at every global: that imports nothing."""
    for value in (here(), here("Base")):
        assert "imported when it is used" in repr(value)
        assert not hasattr(value, "__test__")
        assert not hasattr(value, "__wrapped__")
        assert isinstance(value, (ModuleReference, MemberReference))
        assert parts_of(value) is not None
    assert here().__name__ == "here_values"
    assert "here_values" not in sys.modules
    assert parts_of("here_values") is None


def test_a_pickle_is_an_import(here: Any) -> None:
    """Both travel as imports, before and after they were used, and copy as the real ones."""
    module, member = here(), here("items")
    data = pickle.dumps((module, member))
    assert "here_values" not in sys.modules
    opened, items = pickle.loads(data)
    assert opened is sys.modules["here_values"]
    assert items is opened.items
    assert len(member) == 3
    assert pickle.dumps((module, member)) == data
    assert copy.copy(module) is opened


def test_what_is_not_here_says_where_it_is() -> None:
    """Each use of what is not here is the error of a failed import, with the sentence given."""
    module, member = absent(), absent("member")
    uses: list[Callable[[], Any]] = [
        lambda: module.attribute,
        lambda: setattr(module, "attribute", 1),
        lambda: module.__version__,
        lambda: hasattr(module, "attribute"),
        lambda: member(),
        lambda: member.attribute,
        lambda: member + 1,
        lambda: bool(member),
        lambda: str(member),
        lambda: member == 3,
        lambda: member[0],
        lambda: isinstance(1, member),
        lambda: list(member),
    ]
    for use in uses:
        with pytest.raises(
            ModuleNotFoundError, match=r"absent is elsewhere, say \['f'\]"
        ) as found:
            use()
        assert found.value.name == "absent"


def test_annotations_name_what_is_not_here() -> None:
    """
    At the top of a file, members may be named in annotations, defaults and constants; they
    are references too, and doing something with them is an error.
    """
    space = {"np": absent(), "Tensor": absent("Tensor"), "Optional": typing.Optional}
    text = (
        "def f(a: np.ndarray, b: Tensor | None, c: Optional[Tensor], d: np.random.Generator,\n"
        "      e: np.typing.NDArray[np.float32], f: list[np.ndarray], g: None | np.ndarray,\n"
        "      h=np.float16): pass\n"
        "HALF = np.float16\n"
    )
    exec(compile(text, "written", "exec", dont_inherit=True), space)
    default = space["f"].__defaults__[0]
    assert parts_of(default) == ("absent", (), "float16")
    assert parts_of(space["HALF"]) == ("absent", (), "float16")
    if sys.version_info < (3, 14):
        assert parts_of(space["f"].__annotations__["d"]) == ("absent", (), "random.Generator")
    for use in (
        "np.float16()",
        "np.float16 + 1",
        "f'{np.float16}'",
        "Tensor[0]",
        "np.__version__",
    ):
        with pytest.raises(ModuleNotFoundError, match="absent is elsewhere"):
            exec(use, space)


def test_a_special_method_that_the_real_one_lacks(here: Any) -> None:
    """Entering what cannot be entered is a type error, as it is for the real one."""
    number = here("number")
    with pytest.raises(TypeError, match="__enter__"), number:
        pass
