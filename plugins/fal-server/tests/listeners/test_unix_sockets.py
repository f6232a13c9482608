"""Connections to Unix sockets: a full queue is waited for, and a missing listener is an error."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fal_server.listeners.unix_sockets import connect_unix


@contextlib.contextmanager
def making() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.setblocking(False)
        yield made


def test_full_queue_is_waited_for(tmp_path: Path):
    """A connection that the system does not queue is made once another was accepted."""
    path = str(tmp_path / "socket")

    async def main(stack: contextlib.ExitStack) -> None:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        while stack.enter_context(making()).connect_ex(path) != errno.EAGAIN:
            pass
        late = stack.enter_context(making())
        connecting = asyncio.ensure_future(connect_unix(late, path))
        await asyncio.sleep(0)
        assert not connecting.done()
        stack.enter_context(listener.accept()[0])
        await connecting
        assert late.getpeername() == path

    with contextlib.ExitStack() as stack:
        asyncio.run(main(stack))


def test_nobody_listens(tmp_path: Path):
    """It is an error at once where nobody listens."""
    with making() as made, pytest.raises(OSError, match="No such file"):
        asyncio.run(connect_unix(made, str(tmp_path / "socket")))


def test_links_are_not_followed(tmp_path: Path):
    """What lies in the place of a socket is a socket itself: no link to one, and no file."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        (tmp_path / "link").symlink_to(tmp_path / "socket")
        (tmp_path / "file").touch()
        for name in ("link", "file"):
            with making() as made, pytest.raises(OSError, match=f"Errno {errno.ENOTSOCK}"):
                asyncio.run(connect_unix(made, str(tmp_path / name)))
        with making() as made:
            asyncio.run(connect_unix(made, str(tmp_path / "socket")))
