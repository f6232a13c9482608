"""
The first program on a node: it takes the code that it is to run, once for each node.

Its source travels in a command line, to a Python that has nothing else installed. A line of
JSON on its standard input has the digest of the code, the module whose ``main`` is run with
that line, and facts for this one. The program answers by a line: whether it has the code. If
it has not, another line has the size of an archive, which follows. After that both streams
belong to ``main``.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import sys
import tempfile
import zipfile
from typing import Any


def arrive() -> None:
    """Take the code, and run it."""
    told = json.loads(sys.stdin.buffer.readline())
    if sys.version_info < tuple(told["oldest"]):
        version, oldest = sys.version.split()[0], ".".join(map(str, told["oldest"]))
        raise SystemExit(
            f"The Python at {sys.executable} is {version}, and {oldest} is needed."
        )
    try:
        folder = find_folder(told["digest"])
    except OSError as error:
        raise SystemExit(f"There is no place for the code of the agent: {error}") from None
    has = os.path.isdir(folder)
    answer({"has": has})
    # Another program may unpack it meanwhile: the code comes all the same.
    if not has:
        size = json.loads(sys.stdin.buffer.readline())["size"]
        unpack(sys.stdin.buffer.read(size), folder)
    sys.path.insert(0, folder)
    importlib.import_module(told["main"]).main(told)


def answer(facts: dict[str, Any]) -> None:
    """Write a line of JSON to standard output."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def find_folder(digest: str) -> str:
    """
    Return where the code of *digest* is on this node, or is to be.

    Raises:
        PermissionError: Another user may have put code there.
    """
    parent = os.path.join(cache_root(), "nodes", "code")
    os.makedirs(parent, 0o700, exist_ok=True)
    if os.stat(parent).st_uid != os.getuid():
        raise PermissionError(f"{parent} belongs to another user: set FAL_CORE_CACHE there.")
    return os.path.join(parent, digest)


def unpack(code: bytes, folder: str) -> None:
    """Unpack an archive to *folder*, whole or not at all."""
    made = tempfile.mkdtemp(dir=os.path.dirname(folder), prefix=".new-")
    try:
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            archive.extractall(made)
            for each in archive.infolist():
                if each.external_attr >> 16 & 0o111:
                    os.chmod(os.path.join(made, each.filename), 0o755)
        os.rename(made, folder)
    except OSError:
        # Another program of this node may have been quicker.
        if not os.path.isdir(folder):
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def cache_root() -> str:
    """Return the root of the cache, as fal_core.caches has it, which is not there yet."""
    named = os.environ.get("FAL_CORE_CACHE")
    if named:
        return os.path.abspath(os.path.expanduser(named))
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(os.path.abspath(home), "fal-core")
