"""
Source archives are unpacked, once on each machine, into a folder named by their digest.

The worker itself arrives as such an archive. So the bootstrap executes the source of this
module alone, which imports nothing else of the package.
"""

from __future__ import annotations

import os
import sys

#: The environment variable that names another cache directory.
CACHE_VARIABLE = "FAL_CORE_CACHE"


def cache_root() -> str:
    """
    Return the cache directory, which the core and all plugins share.

    It is an absolute path, and need not exist. Each plugin has a directory of its own in
    it, such as ``virtualenvs``.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return os.path.abspath(os.path.expanduser(named))
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(os.path.abspath(home), "fal-core")


def find(digest: str) -> str | None:
    """
    Return the folder of an archive that was unpacked before, or None.
    """
    for find_root in (cache_root, _temporary_root):
        try:
            path = os.path.join(find_root(), "sources", digest)
        except OSError:
            continue
        if os.path.isdir(path):
            return path
    return None


def unpack(digest: str, archive: bytes | memoryview) -> str:
    """
    Return where the modules of *archive* can be imported from. Unpack it if needed.

    It is unpacked in the cache, so that compiled modules are kept too, or else in the
    temporary directory. If neither can be written, the archive is kept in memory.
    """
    for find_root in (cache_root, _temporary_root):
        try:
            path = os.path.join(find_root(), "sources", digest)
            if not os.path.isdir(path):
                _extract(archive, path)
            return path
        except OSError:
            pass
    file = os.memfd_create("fal-core")
    os.write(file, archive)
    return f"/proc/self/fd/{file}"


def add_source(payload: bytes | memoryview) -> None:
    """
    Make the modules of a SOURCES frame importable, at the end of ``sys.path``.
    """
    # A large payload is a memoryview.
    path = unpack(bytes(payload[:64]).decode().strip(), payload[64:])
    if path not in sys.path:
        sys.path.append(path)


def _temporary_root() -> str:
    parent = os.path.abspath(os.environ.get("TMPDIR") or "/tmp")
    root = os.path.join(parent, f"fal-core-{os.getuid()}")
    os.makedirs(root, mode=0o700, exist_ok=True)
    status = os.lstat(root)
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"Others may write to {root}.")
    return root


def _extract(archive: bytes | memoryview, path: str) -> None:
    """
    Unpack *archive* to *path*, which appears complete or not at all.
    """
    import io
    import zipfile

    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    new = f"{path}.{os.urandom(8).hex()}"
    try:
        os.mkdir(new, 0o700)
        zipfile.ZipFile(io.BytesIO(archive)).extractall(new)
        os.rename(new, path)
    except OSError:
        import shutil

        shutil.rmtree(new, ignore_errors=True)
        if not os.path.isdir(path):
            raise
