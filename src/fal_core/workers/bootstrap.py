"""
The first lines that a worker runs, which read the worker itself from its stream.

The interpreter is given :data:`SOURCE` by ``-c``. It reads a line with the digest of the
worker's archive and three sizes, and then three parts of these sizes: the source of
:mod:`fal_core_worker.archives`, which unpacks the archive, the archive, and the
configuration.
"""

from __future__ import annotations

import functools

from fal_core.environments import OLDEST_PYTHON
from fal_core_worker import archives

#: How the line begins in which a Python says why no worker runs in it.
REFUSAL = "fal-core: "

_NEEDED = ".".join(map(str, OLDEST_PYTHON))

# An older Python must be able to read all of it.
SOURCE = f"""\
import os, sys
def read(size):
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
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
    os.write(1, ("{REFUSAL}" + said % (sys.executable, version) + "\\n").encode())
    os._exit(1)
archives = {{}}
exec(module, archives)
path = archives["unpack"](digest, archive)
sys.path.insert(0, path)
from fal_core_worker.main import main
main(path, configuration)
"""

ARGUMENTS = ("-I", "-c", SOURCE)


def preamble(digest: str, archive: bytes, configuration: bytes) -> bytes:
    """
    Return what the bootstrap reads from the stream before the first frame.
    """
    parts = (_module(), archive, configuration)
    line = " ".join((digest, *(str(len(part)) for part in parts)))
    return b"".join((line.encode(), b"\n", *parts))


@functools.cache
def _module() -> bytes:
    with open(archives.__file__, "rb") as file:
        return file.read()
