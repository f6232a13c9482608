"""Files: a large one to a server of one's own and back, beside a copy over HTTP."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure

AIOHTTP = "aiohttp, one request each way"

_HERE = "benchmarks.files:"

#: The bytes of a part, and how many are sent at once, as by the released clients.
_PART, _AT_ONCE = 10 << 20, 10

_CHUNK = 1 << 18


@contextmanager
def through_fal_core(size: int) -> Iterator[Measure]:
    """Send a file of an account in parts, and read it."""
    from benchmarks.planes import control_plane

    with control_plane() as plane:
        base = f"http://{plane.variables['FAL_REST_HOST']}"
        headers = {"Authorization": f"Key {plane.variables['FAL_KEY']}"}

        async def exchange(session: Any, path: Path) -> None:
            import aiohttp

            place = f"{base}/files/file/multipart//data/file"
            async with session.post(f"{place}/initiate") as begun:
                id = (await begun.json())["upload_id"]
            room = asyncio.Semaphore(_AT_ONCE)

            async def send(number: int) -> None:
                async with room:
                    with path.open("rb") as file:
                        file.seek((number - 1) * _PART)
                        content = file.read(_PART)
                    form = aiohttp.FormData()
                    form.add_field("file_upload", content, filename="part")
                    async with session.put(f"{place}/{id}/{number}", data=form) as sent:
                        assert sent.status == 200

            numbers = range(1, -(-size // _PART) + 1)
            await asyncio.gather(*map(send, numbers))
            parts = {"parts": [{"part_number": number, "etag": ""} for number in numbers]}
            async with session.post(f"{place}/{id}/complete", json=parts) as done:
                assert done.status == 200
            await _receive(session, f"{base}/files/file//data/file", path, size)

        with _measuring(exchange, size, headers) as measure:
            yield measure


@contextmanager
def through_aiohttp(size: int) -> Iterator[Measure]:
    """Send a file in one request, and read it."""
    with tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-") as folder:
        command = [sys.executable, "-m", "benchmarks.peers.file_server", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}/file"

            async def exchange(session: Any, path: Path) -> None:
                async with session.put(url, data=_pieces(path)) as sent:
                    assert sent.status == 200
                await _receive(session, url, path, size)

            with _measuring(exchange, size, {}) as measure:
                yield measure
        finally:
            server.terminate()
            server.wait()


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while content := file.read(_CHUNK):
            yield content


async def _receive(session: Any, url: str, path: Path, size: int) -> None:
    received = 0
    with path.with_name("back").open("wb") as back:
        async with session.get(url) as response:
            async for chunk in response.content.iter_chunked(_CHUNK):
                back.write(chunk)
                received += len(chunk)
    assert received == size


@contextmanager
def _measuring(
    exchange: Callable[[Any, Path], Awaitable[None]], size: int, headers: dict[str, str]
) -> Iterator[Measure]:
    """Yield what measures an exchange of a file of *size*."""
    with tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-") as folder:
        path = Path(folder) / "file"
        with path.open("wb") as file:
            block = bytes(range(256)) * 4096
            for _ in range(size // len(block)):
                file.write(block)

        async def once() -> None:
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None)
            async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
                await exchange(session, path)

        def measure() -> float:
            began = perf_counter()
            asyncio.run(once())
            return perf_counter() - began

        yield measure


def figures(*, quick: bool) -> list[Figure]:
    """Return the figure of this theme."""
    size = (128 if quick else 1024) << 20
    settings = {"size": size}
    return [
        Figure(
            name="file",
            title=f"a file of {size >> 20} MiB, up and down",
            unit="s",
            note="from the disk to the data of an account, and back to the disk",
            contestants=(
                Contestant(
                    name=FAL_CORE,
                    target=_HERE + "through_fal_core",
                    settings=settings,
                    role="fal-core",
                    needs=("fal_server",),
                    pinned=False,
                ),
                Contestant(
                    name=AIOHTTP,
                    target=_HERE + "through_aiohttp",
                    settings=settings,
                    needs=("aiohttp",),
                    pinned=False,
                ),
            ),
            goals=(Goal(against=AIOHTTP, factor=2),),
        )
    ]
