"""
Source archives are unpacked, once on each machine, into a folder named by their digest.

The worker itself arrives as such an archive. So the bootstrap executes the source of this
module alone, which imports nothing else of the package.
"""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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


class ForeignCache(PermissionError):
    """The cache, or a directory in it, belongs to another user."""

    def __str__(self) -> str:
        return (
            f"The cache directory {self.filename} is refused: {self.strerror}. "
            f"Set the variable {CACHE_VARIABLE} to a directory of yours."
        )


def cache_directory(name: str = "", *, make: bool = False) -> str:
    """
    Return the directory *name* of the cache, which need not exist unless it is to be made.

    Raises:
        ForeignCache: It, or the cache, belongs to another user, who could put there what
            this one runs.

        OSError: It cannot be made or looked at.
    """
    root = cache_root()
    path = os.path.join(root, name) if name else root
    for each in (root, path):
        _check_owner(each)
        if make:
            os.makedirs(each, 0o700, exist_ok=True)
            # Somebody else may have been faster.
            _check_owner(each)
    return path


def _check_owner(path: str) -> None:
    # A link of another user may lead to a directory of this one.
    for look in (os.lstat, os.stat):
        try:
            owner = look(path).st_uid
        except (FileNotFoundError, NotADirectoryError):
            continue
        if owner != os.geteuid():
            raise ForeignCache(errno.EACCES, f"it belongs to {_name_of(owner)}", path)


def _name_of(user: int) -> str:
    try:
        import pwd

        return f"the user {pwd.getpwuid(user).pw_name}"
    except (ImportError, KeyError):
        return f"the user with the id {user}"


def find(digest: str) -> str | None:
    """Return the folder of an archive that was unpacked before, or None."""
    for find_root in (_sources, _temporary_sources):
        try:
            path = os.path.join(find_root(), digest)
        except OSError:
            continue
        if os.path.isdir(path):
            return path
    return None


def unpack(digest: str, archive: bytes | memoryview) -> str:
    """
    Return where the modules of *archive* can be imported from. Unpack it if needed.

    It is unpacked in the cache, so that compiled modules are kept too, or else in the
    temporary directory. If neither can be written, or both belong to others, the archive
    is kept in memory.
    """
    for find_root in (_sources, _temporary_sources):
        try:
            path = os.path.join(find_root(), digest)
            if not os.path.isdir(path):
                _extract(archive, path)
            return path
        except OSError:
            pass
    file = os.memfd_create("fal-core")
    os.write(file, archive)
    return f"/proc/self/fd/{file}"


def add_source(payload: bytes | memoryview) -> None:
    """Make the modules of a SOURCES frame importable, at the end of ``sys.path``."""
    # A large payload is a memoryview.
    add_path(unpack(bytes(payload[:64]).decode().strip(), payload[64:]))


def add_path(path: str) -> bool:
    """
    Make the modules at *path*, where an archive is unpacked, importable.

    An earlier archive with other versions of them gives way. Then all modules that came in
    archives are forgotten, since any may have imported them. Return whether that was so.
    """
    if path in _parts.roots:
        return False
    older = [root for root in _parts.roots if _differ(root, path)]
    if older:
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or ""
            if any(file.startswith(root + os.sep) for root in _parts.roots):
                del sys.modules[name]
    for root in older:
        _parts.roots.remove(root)
        sys.path.remove(root)
    _parts.roots.append(path)
    if path not in sys.path:
        sys.path.append(path)
    if _parts not in sys.meta_path:
        sys.meta_path.append(_parts)
    return bool(older)


def _differ(one: str, other: str) -> bool:
    """Tell whether a file is in both folders, and not the same."""
    for folder, folders, names in os.walk(one):
        # Compiled modules say when their sources were unpacked.
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            path = os.path.join(folder, name)
            try:
                with open(os.path.join(other, os.path.relpath(path, one)), "rb") as file:
                    found = file.read()
            except OSError:
                continue
            with open(path, "rb") as file:
                if file.read() != found:
                    return True
    return False


class _Parts:
    """
    Finds modules of packages that came in several archives, each with the part of a function.

    Attributes:
        roots: Where the archives are unpacked.
    """

    def __init__(self) -> None:
        self.roots: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if path is None:
            return None
        from importlib.machinery import PathFinder

        inside = name.split(".")[:-1]
        folders = [os.path.join(root, *inside) for root in self.roots]
        # The first of them is the one that Python knows of, and has looked into.
        is_archived = any(folder in path for folder in folders)
        return PathFinder.find_spec(name, folders) if is_archived else None


_parts = _Parts()


def _sources() -> str:
    return cache_directory("sources")


def _temporary_sources() -> str:
    parent = os.path.abspath(os.environ.get("TMPDIR") or "/tmp")
    root = os.path.join(parent, f"fal-core-{os.getuid()}")
    os.makedirs(root, mode=0o700, exist_ok=True)
    status = os.lstat(root)
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"Others may write to {root}.")
    return os.path.join(root, "sources")


def _extract(archive: bytes | memoryview, path: str) -> None:
    """Unpack *archive* to *path*, which appears complete or not at all."""
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
