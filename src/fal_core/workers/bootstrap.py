"""
The first lines that a worker runs, which read the worker itself from its stream.

The interpreter is given the source by ``-c``. It reads a line with the digest of the
worker's archive and three sizes, and then three parts of these sizes: the source of
:mod:`fal_core_worker.archives`, which unpacks the archive, the archive, and the
configuration.

It finds the stream at a place that is written into its first line: at its standard input
and output, at a descriptor, or at a Unix socket, over which it receives the stream and
other descriptors.
"""

from __future__ import annotations

import functools

from fal_core.environments import OLDEST_PYTHON
from fal_core_worker import archives

#: The number of the first descriptor that is passed to a process, and how many there may be.
FIRST_DESCRIPTOR, MOST_DESCRIPTORS = 3, 16

#: How the line begins in which a Python says why no worker runs in it.
REFUSAL = "fal-core: "

_NEEDED = ".".join(map(str, OLDEST_PYTHON))

# An older Python must be able to read all of it.
_SOURCE = f"""\
import os, sys
if isinstance(place, str):
    import _socket, array
    connection = _socket.socket(_socket.AF_UNIX)
    connection.connect(place)
    found = array.array("i")
    room = _socket.CMSG_SPACE({MOST_DESCRIPTORS} * found.itemsize)
    for _, _, data in connection.recvmsg(1, room)[1]:
        found.frombytes(data)
    connection.close()
    if not found:
        os._exit(0)
    # Moved up first, so that none is overwritten before its turn.
    for number, each in enumerate(found):
        os.dup2(each, 64 + number)
        os.close(each)
    place = {FIRST_DESCRIPTOR}
    for number in range(len(found)):
        os.dup2(64 + number, place + number)
        os.close(64 + number)
def read(size):
    data = b""
    while len(data) < size:
        part = os.read(place, size - len(data))
        if not part:
            os._exit(0)
        data += part
    return data
line = b""
while not line.endswith(b"\\n"):
    line += read(1)
digest, sizes = line.decode().split()[0], line.decode().split()[1:]
module, archive, configuration = [read(int(size)) for size in sizes]
if sys.version_info < {OLDEST_PYTHON}:
    version = ".".join(str(number) for number in sys.version_info[:3])
    said = "The Python at %s is %s, and a worker needs {_NEEDED} or newer."
    os.write(place or 1, ("{REFUSAL}" + said % (sys.executable, version) + "\\n").encode())
    os._exit(1)
archives = {{}}
exec(module, archives)
path = archives["unpack"](digest, archive)
sys.path.insert(0, path)
from fal_core_worker.main import main
main(path, configuration)
"""


@functools.cache
def arguments_for(place: int | str = 0) -> tuple[str, ...]:
    """
    Return the arguments of a Python in which a worker is to run.

    Arguments:
        place: Where it finds its stream: the number of a descriptor, 0 for standard input
            and output, or the path of a Unix socket, over which it receives the descriptors
            from 3 on, the stream first.
    """
    return ("-I", "-c", f"place = {place!r}\n{_SOURCE}")


ARGUMENTS = arguments_for()


def preamble(digest: str, archive: bytes, configuration: bytes) -> bytes:
    """Return what the bootstrap reads from the stream before the first frame."""
    parts = (_module(), archive, configuration)
    line = " ".join((digest, *(str(len(part)) for part in parts)))
    return b"".join((line.encode(), b"\n", *parts))


@functools.cache
def _module() -> bytes:
    with open(archives.__file__, "rb") as file:
        return file.read()
