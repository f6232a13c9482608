"""Functions of many shapes, each with arguments and the expected result."""

from __future__ import annotations

import abc
import asyncio
import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import itertools
import math
import pathlib
import re
import types
import typing
import uuid
from typing import Generic, NamedTuple, Protocol, TypeVar

SHAPES: dict[str, tuple[object, tuple, object]] = {}


def shape(*arguments, gives):
    """Register a function under its name."""

    def register(function):
        SHAPES[function.__name__] = (function, arguments, gives)
        return function

    return register


CONSTANT = 7
TABLE = {"a": [1, 2], "b": (3, 4)}
PATTERN = re.compile(r"(\d+)")


@shape(2, gives=3)
def plain(x):
    return x + 1


@shape(2, gives=9)
def with_global(x):
    return x + CONSTANT


@shape(gives=10)
def with_table():
    return sum(TABLE["a"]) + sum(TABLE["b"])


@shape(1, gives=(1, 2, (3,), 4, {"k": 5}))
def with_all_parameters(a, /, b=2, *rest, c=4, **others):
    return with_parameters(a, b, 3, k=5)


def with_parameters(a, /, b=2, *rest, c=4, **others):
    return a, b, rest, c, others


@shape(16.0, gives=4.0)
def with_module(x):
    return math.sqrt(x)


@shape(3, gives=[0, 1, 4])
def with_comprehension(n):
    return [i * i for i in range(n)]


@shape(3, gives={0: {0}, 1: {0, 1}, 2: {0, 1, 2}})
def with_nested_comprehension(n):
    return {i: {j + 0 for j in range(i + 1)} for i in range(n)}


@shape(5, gives=120)
def recursive(n):
    return 1 if n < 2 else n * recursive(n - 1)


@shape(10, gives=True)
def is_even(n):
    return n == 0 or is_odd(n - 1)


def is_odd(n):
    return n != 0 and is_even(n - 1)


@shape(3, gives=[3, 2, 1])
def with_generator(n):
    return list(count_down(n))


def count_down(n):
    while n:
        yield n
        n -= 1


@shape(3, gives=6)
def with_coroutine(n):
    return asyncio.run(double(n))


async def double(n):
    # Awaits something, as a coroutine does; it takes no time.
    await asyncio.sleep(0)
    return 2 * n


@shape(3, gives=[0, 1, 2])
def with_async_generator(n):
    async def collect():
        return [i async for i in ticks(n)]

    return asyncio.run(collect())


async def ticks(n):
    for i in range(n):
        yield i


@shape("x", gives="caught 'x'")
def with_try(name):
    try:
        return TABLE[name]
    except KeyError as error:
        return f"caught {error}"
    finally:
        str(name)


@shape([1, [2, 3]], gives="list of 1 and [2, 3]")
def with_match(value):
    match value:
        case [first, [*rest]]:
            return f"list of {first} and {rest}"
        case _:
            return "other"


@shape("a1b22", gives=["1", "22"])
def with_pattern(text):
    return PATTERN.findall(text)


@shape(4, gives=24)
def with_inner(n):
    total = 1

    def multiply(by):
        nonlocal total
        total *= by

    for i in range(1, n + 1):
        multiply(i)
    return total


def _adder(by):
    def add(x):
        return x + by

    return add


SHAPES["closure"] = (_adder(5), (1,), 6)
SHAPES["lambda"] = (lambda x: x * CONSTANT, (3,), 21)
SHAPES["lambda with default"] = (lambda x, y=4: x + y, (3,), 7)
_TWO = (lambda x: x + 1, lambda x: x + 2)
SHAPES["second lambda of a line"] = (_TWO[1], (1,), 3)
SHAPES["lambda in a comprehension"] = ([lambda x, i=i: x + i for i in range(3)][2], (1,), 3)
SHAPES["partial"] = (functools.partial(with_parameters, 1, c=9), (2,), (1, 2, (), 9, {}))


def logged(function):
    """Decorate, keeping the name."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return ["logged", function(*args, **kwargs)]

    return wrapper


@shape(1, gives=["logged", 2])
@logged
def decorated(x):
    return x + 1


@shape(3, gives=9)
@functools.cache
def cached(x):
    return x * x


@contextlib.contextmanager
def opened(name):
    yield name.upper()


@shape("a", gives="A")
def with_context_manager(name):
    with opened(name) as value:
        return value


class Point:
    """A plain class."""

    unit = "m"

    def __init__(self, x, y=0):
        self.x = x
        self.__y = y

    @property
    def total(self):
        return self.x + self.__y

    @total.setter
    def total(self, value):
        self.x = value - self.__y

    @classmethod
    def origin(cls):
        return cls(0)

    @staticmethod
    def scale(n):
        return 10 * n

    def __eq__(self, other):
        return isinstance(other, Point) and self.total == other.total

    __hash__ = None

    def moved(self, by):
        return Point(self.x + by)


class Point3(Point):
    def __init__(self, x, y, z):
        super().__init__(x, y)
        self.z = z

    @property
    def total(self):
        return super().total + self.z


@shape(3, gives=(8, "m", 0, 20))
def with_class(n):
    point = Point(1, 2)
    point.total = n + 5
    return point.total, point.unit, Point.origin().total, Point.scale(2)


@shape(gives=6)
def with_super():
    return Point3(1, 2, 3).total


SHAPES["bound method"] = (Point(1).moved, (2,), Point(3))
SHAPES["class method"] = (Point.origin, (), Point(0))
SHAPES["class itself"] = (Point, (4,), Point(4))
SHAPES["instance result"] = (lambda: Point(4, 5), (), Point(9))


class Callable:
    def __call__(self, x):
        return x - 1


SHAPES["callable object"] = (Callable(), (5,), 4)


@dataclasses.dataclass(order=True)
class Item:
    name: str
    price: float = 1.5
    tags: list[str] = dataclasses.field(default_factory=list, compare=False)
    kind: typing.ClassVar[str] = "item"

    def total(self, n):
        return self.price * n


@dataclasses.dataclass(frozen=True)
class Key:
    a: int
    b: str = dataclasses.field(default="b", repr=False)


@dataclasses.dataclass(slots=True)
class Slotted:
    a: int = 1


@dataclasses.dataclass
class Order(Item):
    count: int = 2

    def __post_init__(self):
        self.count += 1

    def total(self, n):
        return super().total(n) * self.count


@shape("a", gives=Item("a", 2.5, ["t"]))
def with_dataclass(name):
    return Item(name, 2.5, ["t"])


@shape(gives=(True, "Item(name='a', price=1.5, tags=[])", 4.5))
def with_dataclass_methods():
    return Item("a") < Item("b"), repr(Item("a")), Item("a").total(3)


@shape(gives=9.0)
def with_derived_dataclass():
    return Order("a").total(2)


@shape(gives={Key(1): "Key(a=1)"})
def with_frozen_dataclass():
    return {Key(1): repr(Key(1))}


@shape(gives=Slotted(3))
def with_slotted_dataclass():
    return Slotted(3)


SHAPES["dataclass argument"] = (
    lambda item: Item(item.name, item.price * 2),
    (Item("z"),),
    Item("z", 3.0),
)


class Pair(NamedTuple):
    left: int
    right: str = "r"

    def swapped(self):
        return self.right, self.left


@shape(gives=(Pair(1), ("r", 1), "Pair(left=1, right='r')"))
def with_named_tuple():
    return Pair(1), Pair(1).swapped(), repr(Pair(1))


Old = collections.namedtuple("Old", "a b", defaults=(3,))


@shape(gives=Old(1))
def with_old_named_tuple():
    return Old(1)


class Color(enum.Enum):
    RED = 1
    GREEN = 2
    VERDE = 2

    @property
    def shown(self):
        return self.name.lower()


@shape("RED", gives=(Color.RED, "green", True))
def with_enum(name):
    return Color[name], Color.VERDE.shown, Color(1) is Color.RED


class Planet(enum.Enum):
    EARTH = (5, 6)

    def __init__(self, mass, radius):
        self.mass = mass
        self.radius = radius


@shape(gives=(5, 30))
def with_enum_of_fields():
    return Planet.EARTH.mass, Planet.EARTH.mass * Planet.EARTH.radius


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@shape(gives=(True, Level.HIGH, Mode.READ | Mode.WRITE, 2))
def with_int_enum_and_flag():
    return Level.LOW < 2, Level.HIGH, Mode.READ | Mode.WRITE, Level.HIGH + 0


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...


class Square(Shape):
    def __init__(self, side):
        self.side = side

    def area(self):
        return self.side**2


@shape(gives=(4, "abstract", True))
def with_abstract_class():
    try:
        Shape()
    except TypeError:
        return Square(2).area(), "abstract", isinstance(Square(1), Shape)


@typing.runtime_checkable
class Sized(Protocol):
    def size(self) -> int: ...


class Box:
    def size(self):
        return 3


@shape(gives=(True, False))
def with_protocol():
    return isinstance(Box(), Sized), isinstance(3, Sized)


T = TypeVar("T")


class Stack(Generic[T]):
    def __init__(self) -> None:
        self.items: list[T] = []

    def push(self, item: T) -> Stack[T]:
        self.items.append(item)
        return self


@shape(1, gives=[1])
def with_generic(x):
    return Stack[int]().push(x).items


def typed(x: int | None, y: list[int] | None = None) -> dict[str, T]:
    return {"x": x, "y": y}


SHAPES["annotations"] = (typed, (1,), {"x": 1, "y": None})


class Failure(LookupError):
    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code


@shape(gives=Failure(code=4))
def raises():
    raise Failure(code=4)


@shape(gives=ValueError("plain"))
def raises_builtin():
    raise ValueError("plain")


class Slots:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


@shape(gives=3)
def with_slots():
    return Slots(3).a


@shape([3, 1, 2], gives=[3, 2, 1])
def with_key_function(values):
    return sorted(values, key=lambda value: -value)


@shape(gives=[(0, "a"), (1, "b")])
def with_standard_classes():
    return list(itertools.islice(enumerate(collections.deque("abc")), 2))


@shape(gives=3)
def with_local_class():
    class Local:
        value = 3

        def get(self):
            return self.value

    return Local().get()


def _make_local():
    class Hidden:
        def __init__(self, value):
            self.value = value

        def same(self):
            return type(self) is Hidden and self.value

    return lambda value: Hidden(value).same()


SHAPES["class of a function"] = (_make_local(), (5,), 5)
SHAPES["walrus and unpacking"] = (lambda xs: [y := xs[0], *xs, y], ([1, 2],), [1, 1, 2, 1])


@shape(gives=lambda: 3)
def returns_code():
    return lambda: 3


@shape(10, gives=55)
@functools.cache
def cached_recursive(n):
    return n if n < 2 else cached_recursive(n - 1) + cached_recursive(n - 2)


class Lazy:
    @functools.cached_property
    def value(self):
        return [3]


@shape(gives=True)
def with_cached_property():
    lazy = Lazy()
    return lazy.value is lazy.value


@functools.singledispatch
def kind_of(value):
    return "other"


@kind_of.register
def _(value: int):
    return "integer"


@shape(gives=("integer", "other"))
def with_single_dispatch():
    return kind_of(1), kind_of("")


UserId = typing.NewType("UserId", int)


@shape(gives=5)
def with_new_type() -> UserId:
    return UserId(5)


class Meta(type):
    def __call__(cls, *args):
        made = super().__call__(*args)
        made.made_by = cls.__name__
        return made


class Made(metaclass=Meta):
    pass


@shape(gives="Made")
def with_metaclass():
    return Made().made_by


class Positive:
    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, instance, owner):
        return self if instance is None else getattr(instance, self.name)

    def __set__(self, instance, value):
        setattr(instance, self.name, abs(value))


class Account:
    amount = Positive()

    def __init__(self, amount):
        self.amount = amount


@shape(-3, gives=3)
def with_descriptor(x):
    return Account(x).amount


@shape(Item("n"), gives=Item("n"))
def annotated_by_text(value: Item | None) -> Item:
    return value


def echo(value):
    """Return the value."""
    return value


# -- Values ------------------------------------------------------------------------

VALUES: dict[str, object] = {
    "none": None,
    "big integer": 10**40,
    "float": float("inf"),
    "complex": 1 + 2j,
    "bytes": b"\x93" * 10,
    "bytearray": bytearray(b"ab"),
    "text": "näm\udc80e",
    "set": {1, 2},
    "frozenset": frozenset("ab"),
    "range": range(3, 9, 2),
    "slice": slice(1, 2),
    "path": pathlib.PurePosixPath("/a/b"),
    "real path": pathlib.Path("/a") / "b",
    "date": datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
    "delta": datetime.timedelta(seconds=3),
    "decimal": decimal.Decimal("1.20"),
    "fraction": fractions.Fraction(1, 3),
    "uuid": uuid.UUID(int=5),
    "pattern": re.compile("a+", re.I),
    "counter": collections.Counter("aab"),
    "ordered": collections.OrderedDict(a=1),
    "deque": collections.deque([1, 2], maxlen=4),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "exception": ValueError("x"),
    "odd exception": Failure(code=2),
    "instance": Point(1, 2),
    "dataclass": Item("i"),
    "named tuple": Pair(2),
    "enum": Color.GREEN,
    "flag": Mode.READ,
    "builtin": len,
    "type": int,
    "module function": math.sqrt,
    "alias": list[int],
    "union": int | None,
    "lambda": lambda: 1,
    "partial": functools.partial(int, base=2),
    "simple namespace": types.SimpleNamespace(a=1),
    "nested": {"a": [(1, {"b": Item("n")})]},
}


def same(one, other):
    """Tell whether two values are the same for a user who cannot see identity."""
    if isinstance(one, BaseException):
        return type(one) is type(other) and one.args == other.args and vars(one) == vars(other)
    if isinstance(one, functools.partial) and isinstance(other, functools.partial):
        return (one.func, one.args, one.keywords) == (other.func, other.args, other.keywords)
    if type(one) is not type(other):
        return False
    if isinstance(one, types.FunctionType):
        return one() == other()
    return one == other
