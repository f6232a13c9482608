"""Sources that travel beside a function: its local modules, and the worker itself."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fal_core.calls import SourceArchive
from fal_core.digests import blake2b, digest
from fal_core.errors import FalSerializationError, HostError, OptionError, OptionTypeError
from fal_core.sealing.dependencies import as_server
from fal_core.sealing.imports import (
    code_imports,
    file_imports,
    find_module,
    is_installed,
    referred_module,
)
from fal_core_worker.archives import ForeignCache, cache_directory

#: Data files of a named package travel up to this many bytes.
DATA_FILE_SIZE = 1 << 20


@functools.cache
def worker_archive() -> SourceArchive:
    """Return the worker's own source, with the cloudpickle that seals here."""
    # Both ends use private names of cloudpickle, which has no public ones for classes, code
    # and globals: it is pinned below 4, and both ends have the release that travels here.
    files: dict[str, str] = {}
    for package in ("fal_core_worker", "cloudpickle"):
        initial = find_module(package)
        assert initial is not None
        found = _package_files(os.path.dirname(initial), package)
        files.update({name: path for name, path in found.items() if name.endswith(".py")})
    return _kept_archive(_read(files))


def archived_files(
    modules: Mapping[str, str], local_python_modules: Iterable[str] = ()
) -> dict[str, dict[str, str]]:
    """
    Return the paths of the files that travel, by their names in the archive of each top level
    of *modules*, a mapping of names to paths.

    For a module that was found by its import, its ``.py`` file and the ``__init__.py``
    of the packages around it travel; for one that was named, its whole package travels,
    small data files included.
    """
    named = set(local_python_modules)
    files: dict[str, dict[str, str]] = {}
    for name, path in modules.items():
        kept = files.setdefault(name.partition(".")[0], {})
        inside = name.replace(".", "/")
        if os.path.basename(path) != "__init__.py":
            kept[f"{inside}.py"] = path
            continue
        kept[f"{inside}/__init__.py"] = path
        if name in named:
            kept.update(_package_files(os.path.dirname(path), inside))
    return files


def archives(files: Mapping[str, Mapping[str, str]]) -> tuple[SourceArchive, ...]:
    """
    Return an archive for each top level of *files*, see :func:`archived_files`.

    Raises:
        FalSerializationError: A file cannot be read.
    """
    try:
        return tuple(_archive(_read(files[top])) for top in sorted(files))
    except OSError as error:
        raise FalSerializationError(
            f"The file {error.filename}, which travels with the function, cannot be read: "
            f"{error.strerror}. Put it back, or do not import it."
        ) from error


def local_modules(
    func: Callable[..., Any], local_python_modules: Iterable[str] = ()
) -> dict[str, str]:
    """
    Return the paths of the local modules that *func* needs, by name.

    They are found from the imports of its module, and of each local module found in
    this way. The module of *func* itself is included only if another one imports it.
    """
    found: dict[str, str] = {}
    named: set[str] = set()
    for name in check_local_modules(local_python_modules):
        named.update((name, *_submodules(name, _find_named(name))))
    # A server names the packages that it needs; their imports are not followed.
    server = as_server(func)
    whole = frozenset() if server is None else frozenset(server.packages)
    waiting = [*first_imports(func), *named]
    while waiting:
        name = waiting.pop()
        if name in found or (is_installed(name) and name not in named):
            continue
        path = find_module(name)
        if path is None or not path.endswith(".py"):
            continue
        found[name] = path
        if name.partition(".")[0] in whole:
            continue
        is_package = os.path.basename(path) == "__init__.py"
        waiting += file_imports(path, name if is_package else name.rpartition(".")[0])
        if "." in name:
            waiting.append(name.rpartition(".")[0])
    return found


def check_local_modules(value: Any) -> list[str]:
    """
    Return the value of the option ``local_python_modules`` as a list, checked.

    Raises:
        OptionTypeError: It is not a list of names.

        OptionError: A module does not exist.
    """
    if value is not None and not isinstance(value, (list, tuple)):
        shown = f"{value!r} ({type(value).__name__})"
        raise OptionTypeError("local_python_modules", shown, "a list of names of modules")
    for index, name in enumerate(value or ()):
        if not isinstance(name, str):
            shown = f"{name!r} ({type(name).__name__})"
            raise OptionTypeError(f"local_python_modules[{index}]", shown, "a name of a module")
    if not value:
        return []
    from fal_core_worker import current

    # A module that a worker imports may declare functions whose local modules exist
    # at home only.
    if current.runtime is None:
        for name in value:
            _find_named(name)
    return list(value)


def _find_named(name: str) -> str:
    path = find_module(name)
    if path is None:
        raise OptionError(
            f"Option 'local_python_modules' names {name!r}, and no such module is found. "
            "Name modules as they are imported, from where they can be."
        )
    return path


def file_of(func: Callable[..., Any]) -> str | None:
    """Return the file that *func* was written in, or None if there is none."""
    target = _underlying(inspect.unwrap(func))
    module = sys.modules.get(target.__module__) if isinstance(target, type) else None
    path = getattr(module, "__file__", None)
    if hasattr(target, "__code__"):
        path = target.__code__.co_filename
    return os.path.abspath(path) if path is not None and os.path.isfile(path) else None


def first_imports(func: Callable[..., Any]) -> list[str]:
    """Return the names of the modules that *func* or its file imports."""
    target = _underlying(func)
    space = getattr(target, "__globals__", {})
    if isinstance(target, type):
        space = vars(sys.modules.get(target.__module__, target))
    package = space.get("__package__") or ""
    path = space.get("__file__")
    names = code_imports(target.__code__, package) if hasattr(target, "__code__") else []
    if isinstance(path, str) and path.endswith(".py") and os.path.isfile(path):
        return names + file_imports(path, package)
    # Without a file, as in a notebook, imported objects are found among the globals.
    for value in list(space.values()):
        module = referred_module(value)
        if module is None:
            own = "__name__" if type(value) is type(sys) else "__module__"
            module = getattr(value, own, None)
        if isinstance(module, str) and module != space.get("__name__"):
            names.append(module)
    return names


def _underlying(func: Any) -> Any:
    while not (hasattr(func, "__code__") or isinstance(func, type)):
        inner = getattr(func, "func", None) or getattr(func, "__func__", None)
        if inner is None:
            return vars(type(func)).get("__call__", func)
        func = inner
    return func


def _submodules(name: str, path: str) -> list[str]:
    if os.path.basename(path) != "__init__.py":
        return []
    names = []
    for inside in _package_files(os.path.dirname(path), name.replace(".", "/")):
        if inside.endswith(".py"):
            names.append(inside[:-3].replace("/", ".").removesuffix(".__init__"))
    return names


def _package_files(folder: str, inside: str) -> dict[str, str]:
    files = {}
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] not in "._" or name == "_"]
        place = os.path.relpath(root, folder)
        for name in names:
            path = os.path.join(root, name)
            if name[0] == "." or name.endswith((".pyc", ".so", ".pyd")):
                continue
            if name.endswith(".py") or os.path.getsize(path) <= DATA_FILE_SIZE:
                files[os.path.normpath(os.path.join(inside, place, name))] = path
    return files


def _read(files: Mapping[str, str]) -> dict[str, bytes]:
    """Return the contents of *files*, a mapping of names to paths, sorted by name."""
    contents = {}
    for name in sorted(files):
        with open(files[name], "rb") as file:
            contents[name] = file.read()
    return contents


def _kept_archive(contents: Mapping[str, bytes]) -> SourceArchive:
    """
    Return the archive of *contents*, from the cache if it was made before.

    Making it takes longer than anything else a new process does for its first call.

    Raises:
        HostError: The cache belongs to another user.
    """
    key = blake2b(digest_size=20)
    for name, content in contents.items():
        key.update(f"{name}\0{len(content)}\0".encode() + content)
    try:
        path = os.path.join(cache_directory("archives"), key.hexdigest())
        with open(path, "rb") as file:
            told, data = file.read(40).decode("latin-1"), file.read()
        # After a loss of power the file may exist without its contents.
        if digest(data) == told:
            return SourceArchive(told, data)
    except ForeignCache as error:
        # What is in it may be anything.
        raise HostError(str(error)) from None
    except OSError:
        pass
    from fal_core.caches import write_atomically

    archive = _archive(contents)
    try:
        path = os.path.join(cache_directory("archives", make=True), key.hexdigest())
        write_atomically(path, archive.digest.encode() + archive.data, durable=False)
    except OSError:
        # It is made again next time.
        pass
    return archive


def _archive(contents: Mapping[str, bytes]) -> SourceArchive:
    import io
    import zipfile

    # The same files give the same bytes, so that an archive is sent only once.
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            # Compressed, the worker fits into the buffer of a socket that nobody reads yet.
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 1)
    data = buffer.getvalue()
    return SourceArchive(digest(data), data)
