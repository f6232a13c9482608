"""PostgreSQL: the meaning of its errors, and what a server does while it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fal_server.errors import StateBroken, StateUnavailable, StorageFull, Unavailable
from fal_server.state.databases import Database
from fal_server.store.accounts import find_account
from fal_server.store.stages import Stages

numbers = sa.Table(
    "test_numbers", sa.MetaData(), sa.Column("number", sa.Integer, primary_key=True)
)


@pytest.fixture
def url(postgresql_url: str) -> str:
    return postgresql_url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    opened.write_here(numbers.create)
    yield opened
    opened.close()


def add(number: int) -> Callable[[sa.Connection], int]:
    def work(connection: sa.Connection) -> int:
        connection.execute(numbers.insert().values(number=number))
        return number

    return work


def every(connection: sa.Connection) -> list[int]:
    return list(connection.scalars(sa.select(numbers.c.number).order_by(numbers.c.number)))


def fail(code: str) -> Callable[[sa.Connection], None]:
    """Return a write that fails with an error of PostgreSQL that has this code."""
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$"
    return lambda connection: connection.exec_driver_sql(statement).close()


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGQUIT], ids=["restarted", "crashed"])
def test_writes_wait_for_a_server_that_is_gone(
    postgresql: Any, database: Database, kind: signal.Signals
):
    """Writes and reads that come while PostgreSQL is gone wait for it, and each is done once."""

    async def main() -> None:
        assert await database.write(add(0)) == 0
        await asyncio.to_thread(postgresql.stop, kind)
        try:
            writing = [asyncio.ensure_future(database.write(add(n))) for n in range(1, 50)]
            reading = asyncio.ensure_future(database.read(lambda it: every(it)[:1]))
            done, _ = await asyncio.wait([*writing, reading], timeout=0.5)
            assert not done
        finally:
            await asyncio.to_thread(postgresql.start)
        assert await asyncio.gather(*writing) == list(range(1, 50))
        assert await reading == [0]

    asyncio.run(main())
    assert database.read_here(every) == list(range(50))


def test_patience_ends(postgresql: Any, database: Database):
    """If PostgreSQL stays gone, what was asked of it is refused, and done when it is back."""
    database.patience = 0.2
    postgresql.stop()
    try:
        for ask in (database.read_here, database.write_here):
            with pytest.raises(StateUnavailable, match="cannot be read or written at present"):
                ask(every)
    finally:
        postgresql.start()
    assert database.write_here(add(1)) == 1


class Proxy:
    """
    Stands between a server and PostgreSQL, and cuts their connection at a commit.

    Arguments:
        reaches: Whether PostgreSQL is told to commit before that.

        meanwhile: Called before the server notices that.
    """

    def __init__(
        self, port: int, *, reaches: bool, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        self.cuts = 0
        self._meanwhile = meanwhile
        self.is_cutting = False
        self._port, self._reaches = port, reaches
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._relay, args=(client,)))
                self._threads[-1].start()

    def _relay(self, client: socket.socket) -> None:
        address = ("127.0.0.1", self._port)
        # It may be gone.
        with client, contextlib.suppress(OSError), socket.create_connection(address) as server:
            is_cut = threading.Event()
            back = threading.Thread(target=self._answer, args=(server, client, is_cut))
            back.start()
            self._ask(client, server, is_cut)
            back.join()

    def _ask(
        self, client: socket.socket, server: socket.socket, is_cut: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if self.is_cutting and b"COMMIT\0" in data:
                    is_cut.set()
                    self.is_cutting = False
                    self.cuts += 1
                    if self._reaches:
                        server.sendall(data)
                    self._meanwhile()
                    break
                server.sendall(data)
        for each in (client, server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _answer(
        self, server: socket.socket, client: socket.socket, is_cut: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if not is_cut.is_set():
                    client.sendall(data)
        if not is_cut.is_set():
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("reaches", [True, False])
def test_commit_whose_answer_is_lost(
    postgresql: Any, database: Database, url: str, reaches: bool
):
    """
    If the connection breaks at a commit, the server finds out whether it was done, and does
    the writes once.
    """
    proxy = Proxy(postgresql.port, reaches=reaches)
    through = Database(url.replace(str(postgresql.port), str(proxy.port)))

    async def main() -> list[Any]:
        proxy.is_cutting = True
        together = (through.write(add(number)) for number in range(20))
        return await asyncio.gather(*together, return_exceptions=True)

    try:
        assert asyncio.run(main()) == list(range(20))
        proxy.is_cutting = True
        assert through.write_here(add(20)) == 20
        assert proxy.cuts == 2
        assert database.read_here(every) == list(range(21))
    finally:
        through.close()
        proxy.close()


def test_crash_at_a_commit(postgresql: Any, database: Database, url: str):
    """
    If PostgreSQL crashes before it commits, the writes are done again, although others have
    got the number of the transaction since.
    """

    def crash() -> None:
        postgresql.stop(signal.SIGQUIT)
        postgresql.start()
        for number in range(100, 110):
            database.write_here(add(number))

    proxy = Proxy(postgresql.port, reaches=False, meanwhile=crash)
    through = Database(url.replace(str(postgresql.port), str(proxy.port)))

    async def main() -> list[Any]:
        proxy.is_cutting = True
        return await asyncio.gather(*(through.write(add(number)) for number in range(3)))

    try:
        assert asyncio.run(main()) == [0, 1, 2]
        assert proxy.cuts == 1
        assert database.read_here(every) == [0, 1, 2, *range(100, 110)]
    finally:
        through.close()
        proxy.close()


@pytest.mark.parametrize("reaches", [True, False])
def test_outage_at_a_commit(postgresql: Any, database: Database, url: str, reaches: bool):
    """
    A write of which nobody knows whether it is committed waits for longer than others, until
    that is known; one that comes meanwhile is refused.
    """

    def stop() -> None:
        while reaches and not database.read_here(every):
            pass
        postgresql.stop(signal.SIGQUIT)

    proxy = Proxy(postgresql.port, reaches=reaches, meanwhile=stop)
    through = Database(url.replace(str(postgresql.port), str(proxy.port)), patience=0.2)

    async def main() -> None:
        proxy.is_cutting = True
        doubtful = asyncio.ensure_future(through.write(add(1)))
        try:
            while not proxy.cuts:
                await asyncio.sleep(0.01)
            for _ in range(2):
                with pytest.raises(StateUnavailable, match="cannot be read or written"):
                    await through.write(add(2))
            assert not doubtful.done()
        finally:
            await asyncio.to_thread(postgresql.start)
        if reaches:
            assert await doubtful == 1
        else:
            with pytest.raises(StateUnavailable, match="lost before it was written"):
                await doubtful
        assert await through.write(add(3)) == 3

    try:
        asyncio.run(main())
        assert database.read_here(every) == ([1, 3] if reaches else [3])
    finally:
        through.close()
        proxy.close()


def test_end_of_a_server_that_does_not_know(postgresql: Any, database: Database, url: str):
    """
    A server that ends while nobody knows whether a write is committed does not wait for that.
    A command says that it is not known.
    """
    proxy = Proxy(postgresql.port, reaches=False, meanwhile=postgresql.stop)
    through = Database(url.replace(str(postgresql.port), str(proxy.port)), patience=0.2)

    async def main() -> None:
        proxy.is_cutting = True
        doubtful = asyncio.ensure_future(through.write(add(1)))
        while not proxy.cuts:
            await asyncio.sleep(0.01)
        with pytest.raises(StateUnavailable):
            await through.write(add(2))
        await asyncio.to_thread(through.close)
        with pytest.raises(Unavailable, match="The server is ending"):
            await doubtful

    try:
        asyncio.run(main())
        postgresql.start()
        through = Database(url.replace(str(postgresql.port), str(proxy.port)), patience=0.2)
        proxy.is_cutting = True
        with pytest.raises(StateUnavailable, match="has not said whether"):
            through.write_here(add(3))
    finally:
        postgresql.start()
        through.close()
        proxy.close()


def test_transactions_in_each_others_way(database: Database, url: str):
    """Transactions that wait for each other are repeated, and both are done."""
    other = Database(url)
    both = threading.Barrier(2)

    def work(first: int, second: int) -> Callable[[sa.Connection], None]:
        runs = []

        def change(connection: sa.Connection) -> None:
            runs.append(first)
            chosen = numbers.c.number
            for number in (first, second):
                same = {chosen: number}
                connection.execute(numbers.update().where(chosen == number).values(same))
                if len(runs) == 1 and number == first:
                    both.wait(30)

        return change

    database.write_here(lambda it: [add(1)(it), add(2)(it)])
    try:
        thread = threading.Thread(target=other.write_here, args=(work(2, 1),))
        thread.start()
        database.write_here(work(1, 2))
        thread.join()
    finally:
        other.close()
    assert database.read_here(every) == [1, 2]


@pytest.mark.parametrize(
    ("code", "refusal", "sentence"),
    [
        ("53100", StorageFull, "The disk of the server is full."),
        ("XX001", StateUnavailable, "The database is damaged."),
        ("53300", StateUnavailable, "cannot be read or written at present"),
        ("42501", StateUnavailable, "cannot be read or written at present"),
        ("22003", sa.exc.DataError, "no"),
        ("42703", sa.exc.ProgrammingError, "no"),
    ],
)
def test_what_errors_mean(database: Database, code: str, refusal: Any, sentence: str):
    """Errors of PostgreSQL are refusals that say what is wrong, unless a statement is."""
    database.patience = 0.05
    with pytest.raises(refusal, match=sentence):
        database.write_here(fail(code))
    assert database.write_here(add(1)) == 1


@pytest.fixture
def guarded(postgresql: Any) -> Iterator[Any]:
    """PostgreSQL with a user who needs a password and may make nothing."""
    file: Path = postgresql.folder / "data" / "pg_hba.conf"
    before = file.read_text()
    postgresql.execute("CREATE USER guest PASSWORD 'secret'")
    file.write_text(f"host all guest 127.0.0.1/32 scram-sha-256\n{before}")
    postgresql.execute("SELECT pg_reload_conf()")
    yield postgresql
    file.write_text(before)
    postgresql.execute("DROP USER guest")
    postgresql.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    ("user", "name", "sentence"),
    [
        ("postgres", "absent", r'database "absent" does not exist\. Create it by'),
        ("absent", "postgres", r'role "absent" does not exist\. Create that user'),
        ("guest:wrong", "postgres", r'failed for user "guest"\. Write its password'),
        ("guest", "postgres", r"no password supplied\. Write its password"),
        ("guest:secret", "postgres", r"permission denied for .*\. Grant that user"),
        ("postgres", "ascii", r"its encoding is SQL_ASCII\. Create one by"),
    ],
)
def test_database_that_cannot_be_used(guarded: Any, user: str, name: str, sentence: str):
    """
    A database in which no server can keep its state is told in one sentence, with what to do
    and without the password, and is not waited for.
    """
    if name == "ascii":
        guarded.execute(
            "CREATE DATABASE ascii TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'"
        )
    try:
        with pytest.raises(StateBroken, match=sentence) as caught:
            Database(f"postgresql://{user}@127.0.0.1:{guarded.port}/{name}")
        told = str(caught.value)
        assert "\n" not in told
        assert "secret" not in told
        assert "wrong" not in told
    finally:
        guarded.execute("DROP DATABASE IF EXISTS ascii")


def test_server_that_starts_waits_for_it(postgresql: Any, url: str, caplog: Any):
    """A server that starts before PostgreSQL waits for it, and says so once."""
    postgresql.stop()
    later = threading.Timer(1.0, postgresql.start)
    later.start()
    try:
        Database(url).close()
    finally:
        later.join()
    told = [it.message for it in caplog.records if it.message.startswith("Waiting for")]
    assert len(told) == 1
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StateBroken, match=r"refused.*Start PostgreSQL there"):
        Database(f"postgresql://postgres@127.0.0.1:{port}/state", patience=0.2)


def test_texts_that_postgresql_does_not_take(database: Database):
    """A zero byte, and half of a surrogate pair, fail no write, and no search."""
    stages = Stages(database)
    owner = "user|x"
    insert = "INSERT INTO accounts VALUES (%s, 'user', %s, %s, 1.0)"
    values = (owner, "x", "a\0b\udce9c")
    database.write_here(lambda it: it.exec_driver_sql(insert, values).close())
    found = database.read_here(lambda it: find_account(it, id=owner))
    assert found is not None
    assert found.full_name == "a\N{SYMBOL FOR NULL}b?c"
    assert database.read_here(lambda it: find_account(it, nickname="x\0")) is None
    made = asyncio.run(stages.create(owner, "staging", "one\0two"))
    assert made.description == "one\0two"
    assert asyncio.run(stages.list(owner))[1].description == "one\N{SYMBOL FOR NULL}two"
