"""The types that mypy and pyright infer for decorated functions; this file is never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future

from typing_extensions import assert_type

from fal_core import Executor, SpawnInfo, function, imports


@function("virtualenv", requirements=["numpy"], machine_type="GPU-H100")
def embed(texts: list[str], *, size: int = 3) -> list[float]:
    return [float(size)] * len(texts)


@function("current")
def numbers(limit: int) -> Iterator[int]:
    yield from range(limit)


@function("current")
async def shout(text: str) -> str:
    return text.upper()


@function("current")
async def letters(text: str) -> AsyncIterator[str]:
    for letter in text:
        yield letter


def plain() -> None:
    """A function keeps its parameters and its result."""
    assert_type(embed(["a"], size=2), list[float])
    assert_type(embed.submit(["a"]), Future[list[float]])
    assert_type(embed.run_local(["a"]), list[float])
    assert_type(list(embed.map([["a"], ["b"]])), list[list[float]])
    assert_type(embed.on("local")(["a"]), list[float])
    assert_type(embed.on(keep_alive=5)(["a"], size=1), list[float])
    assert_type(embed.spawn(["a"]), SpawnInfo[list[float]])
    assert_type(embed.spawn(["a"]).return_value, list[float])
    assert_type(embed.on("local", keep_alive=5).spawn(["a"], size=1).return_value, list[float])
    assert_type(embed.with_policy(timeout=3).submit(["a"]), Future[list[float]])


def wrong() -> None:
    """A call that does not fit is an error of the type checker."""
    embed(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    embed(["a"], length=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    embed.submit()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def streams() -> None:
    """A generator is an iterator of its items."""
    assert_type(numbers(3), Iterator[int])
    assert_type(numbers.spawn(3).return_value, list[int])
    for number in numbers.stream(3):
        assert_type(number, int)


def coroutines() -> None:
    """Called from ordinary code, an ``async def`` gives its result."""
    assert_type(shout("a"), str)
    assert_type(shout.submit("a"), Future[str])
    assert_type(shout.spawn("a").return_value, str)
    for letter in letters("abc"):
        assert_type(letter, str)


async def from_coroutines() -> None:
    """``aio`` gives an awaitable, or an asynchronous iterator."""
    assert_type(await embed.aio(["a"]), list[float])
    assert_type(await shout.aio("a"), str)
    async for number in numbers.aio(3):
        assert_type(number, int)
    async for letter in letters.aio("abc"):
        assert_type(letter, str)
    async for number in numbers.aio.stream(3):
        assert_type(number, int)
    async for found in embed.aio.map([["a"], ["b"]], window=2):
        assert_type(found, list[float])
    assert_type(await embed.on("local").aio(["a"], size=1), list[float])
    await embed.aio(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    embed.aio.map(["a"], windw=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@function("current", host="local")
def on_a_host(text: str, *, size: int = 3) -> int:
    return len(text) * size


@function("theirs", options={"colour": "red"}, host="local", timeout=3)
async def of_others(text: str) -> str:
    return text


def with_hosts() -> None:
    """It is the same for a function with a host, and for one of a kind of others."""
    assert_type(on_a_host("a", size=2), int)
    assert_type(on_a_host.submit("a"), Future[int])
    assert_type(on_a_host.spawn("a").return_value, int)
    assert_type(on_a_host.map(["a"]), Iterator[int])
    assert_type(of_others("a"), str)
    assert_type(of_others.on("local").spawn("a").return_value, str)
    on_a_host(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    on_a_host.spawn("a", length=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


class Model:
    """A class with isolated methods."""

    @function("current")
    def predict(self, text: str, *, size: int = 3) -> list[float]:
        return [float(size)] * len(text)

    @function("current")
    def letters(self, text: str) -> Iterator[str]:
        yield from text


def methods() -> None:
    """A method taken of an instance has the same ways to call, without ``self``."""
    model = Model()
    assert_type(model.predict("a", size=2), list[float])
    assert_type(model.predict.submit("a"), Future[list[float]])
    assert_type(model.predict.spawn("a").return_value, list[float])
    assert_type(list(model.predict.map(["a", "b"])), list[list[float]])
    assert_type(model.predict.on("local").with_policy(timeout=3)("a"), list[float])
    assert_type(model.predict.run_local("a"), list[float])
    model.predict.map(["a"], window=2, ordered=False)
    model.predict.map(["a"], windw=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    model.predict.on("local", keep_aliv=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    model.predict.spawn(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(Model.predict(model, "a"), list[float])
    for letter in model.letters.stream("abc"):
        assert_type(letter, str)
    model.predict(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def methods_from_coroutines() -> None:
    """``aio`` of a method is that of its function, without ``self``."""
    model = Model()
    assert_type(await model.predict.aio("a"), list[float])
    async for letter in model.letters.aio("abc"):
        assert_type(letter, str)


with imports():
    import decimal
    from fractions import Fraction as Ratio


def check_imports() -> None:
    """What is imported in a block is what a plain import gives, and bound after it."""
    assert_type(decimal.Decimal(1), decimal.Decimal)
    assert_type(Ratio(1, 2).numerator, int)


def count(text: str) -> int:
    return len(text)


def executors() -> None:
    """Calls of an executor have the type of their result, and the parameters of their function."""
    with Executor("current", max_workers=2) as pool:
        assert_type(pool.submit(count, "a"), Future[int])
        assert_type(pool.map(count, ["a"], buffersize=2), Iterator[int])
        pool.submit(count, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
