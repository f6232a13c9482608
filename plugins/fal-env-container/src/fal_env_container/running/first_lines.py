"""
The first lines that the Python of a container runs, before those of a worker.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Puts paths before all others, and packages before those of the image.
_PATHS = """\
import site, sys
at = [number for number, path in enumerate(sys.path) if path.endswith("-packages")]
for path in {packages}:
    sys.path.insert(at[0] if at else len(sys.path), path)
    site.addsitedir(path)
sys.path[:0] = {first}
"""

#: Keeps the compiled modules of a standard library that has none, as in images that leave them
#: out to be smaller. Otherwise each container compiles anew what it imports of it.
_COMPILED = """\
def keep_compiled(folder):
    import os, sys
    library = os.path.dirname(os.__file__)
    # A package that no Python imports as it starts.
    if os.path.isdir(os.path.join(library, "json", "__pycache__")):
        return
    from importlib import machinery
    name = "".join(each if each.isalnum() or each in "._-" else "_" for each in sys.version)
    folder = os.path.join(folder, name[:200])
    class Loader(machinery.SourceFileLoader):
        def get_data(self, path):
            return super().get_data(folder + path if path.endswith(".pyc") else path)
        def set_data(self, path, data, **options):
            super().set_data(folder + path, data, **options)
    kinds = (
        (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
        (Loader, machinery.SOURCE_SUFFIXES),
        (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
    )
    def is_of_library(path):
        below = path == library or path.startswith(library + os.sep)
        return below and "-packages" not in path
    def find(path):
        if not is_of_library(path):
            raise ImportError(path)
        return machinery.FileFinder(path, *kinds)
    sys.path_hooks.insert(0, find)
    for path in list(sys.path_importer_cache):
        if is_of_library(path):
            del sys.path_importer_cache[path]
keep_compiled({folder!r})
"""


def first_lines(*, first: Sequence[str], packages: Sequence[str], compiled: str | None) -> str:
    """
    Return the lines; empty if there is nothing to do.

    Arguments:
        first: Paths that come before all others.

        packages: Paths of packages that come before those of the image.

        compiled: A folder for compiled modules of the standard library. None if there is none.
    """
    lines = "" if compiled is None else _COMPILED.format(folder=compiled)
    if first or packages:
        lines += _PATHS.format(first=list(first), packages=list(packages))
    return lines
