"""The types of applications and their clients for mypy and pyright; this file is never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from typing_extensions import assert_type

from fal_env_virtualenv.kinds import Virtualenv
from fal_serve import App, AppClient, AsyncAppClient, endpoint, realtime
from fal_serve.testing import Connect, open_in_process


class Reader(App, kind="virtualenv", requirements=["humanize"], keep_alive=60, name="reader"):
    """An application with a handler of each sort."""

    machine_type = "GPU-H100"
    max_concurrency = 3

    @endpoint("/count")
    def count(self, text: str, *, size: int = 1) -> int:
        return len(text) * size

    @endpoint("/words")
    def words(self, text: str) -> Iterator[str]:
        yield from text.split()

    @endpoint("/shout")
    async def shout(self, text: str) -> str:
        return text.upper()

    @endpoint("/letters")
    async def letters(self, text: str) -> AsyncIterator[str]:
        for letter in text:
            yield letter

    @endpoint("/lengths", max_batch_size=4)
    def lengths(self, *texts: str) -> list[int]:
        return [len(text) for text in texts]

    @realtime("/echo")
    def echo(self, text: str) -> bytes:
        return text.encode()

    @endpoint("/socket", is_websocket=True)
    async def socket(self, websocket: Any) -> None:
        await websocket.accept()

    async def check(self) -> None:
        """
        In the service, handlers are called as they were written; one that is ``async def``
        through the class, as on an object it is that of a client.
        """
        assert_type(self.count("a", size=2), int)
        assert_type(self.words("a b"), Iterator[str])
        assert_type(await Reader.shout(self, "a"), str)
        async for letter in Reader.letters(self, "a"):
            assert_type(letter, str)
        self.lengths("a", "b")
        self.echo("a")


class Better(Reader, keep_alive=120):
    """A handler may be replaced by one of the same types."""

    kind = Virtualenv(requirements=["humanize"])

    @endpoint("/count")
    def count(self, text: str, *, size: int = 1) -> int:
        return super().count(text, size=size) + 1


class Misspelt(App, keep_aliv=60):  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue, reportGeneralTypeIssues]
    """A keyword that is no option is an error."""


class Wrong(App, keep_alive="sixty"):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportGeneralTypeIssues]
    """A value of the wrong type is an error, as a keyword and as an attribute."""

    max_concurrency = "three"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


def launched() -> None:
    """What replaces options of the class is checked as well."""
    Reader.spawn("local", keep_alive=3)
    Reader.spawn(keep_aliv=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Reader.to_function(keep_alive="sixty")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def called() -> None:
    """A client has the endpoints of the class, with their types."""
    with AppClient.connect(Reader) as reader:
        assert_type(reader, Reader)
        assert_type(reader.count("a", size=2), int)
        assert_type(reader.words("a b"), Iterator[str])
        assert_type(reader.lengths("a"), int)
        assert_type(reader.shout("a"), str)
        assert_type(reader.letters("a b"), Iterator[str])
        with reader.echo() as session:
            assert_type(session("a"), bytes)
            session(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        reader.count(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        reader.count("a", length=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        reader.shout(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        reader.nope()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def connected(url: str) -> None:
    """So has a client of an application that is running."""
    with AppClient.connect(Reader, url) as reader:
        assert_type(reader.count("a"), int)
    with AppClient(Reader, url) as reader:
        assert_type(reader.count("a"), int)
    client = AppClient(Reader, url)
    assert_type(client.endpoints.count("a"), int)
    client.nope()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    client.close()


def tested(app_client: Connect) -> None:
    """So have the clients of tests."""
    assert_type(app_client(Reader).count("a"), int)
    app_client(Reader).nope()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    with open_in_process(Reader) as client:
        assert_type(client.endpoints.count("a"), int)
        assert_type(client.http.get("/health").status_code, int)


async def awaited(url: str) -> None:
    """The methods of an asynchronous client are awaited, whatever the handlers are."""
    async with AsyncAppClient.connect(Reader, url) as reader:
        assert_type(await reader.count("a", size=2), int)
        assert_type(await reader.shout("a"), str)
        assert_type(await reader.lengths("a"), int)
        async for word in reader.words("a b"):
            assert_type(word, str)
        async for letter in reader.letters("a b"):
            assert_type(letter, str)
        async with reader.echo() as session:
            assert_type(await session("a"), bytes)
        await reader.shout(1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
        await reader.count(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await reader.nope()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    assert_type(await AsyncAppClient(Reader, url).endpoints.count("a"), int)
