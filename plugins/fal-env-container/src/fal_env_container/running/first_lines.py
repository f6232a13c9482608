"""The first lines that the Python of a container runs, before those of a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: Puts paths before all others, and packages before those of the image.
_PATHS = """\
import site, sys
at = [number for number, path in enumerate(sys.path) if path.endswith("-packages")]
for path in {packages}:
    sys.path.insert(at[0] if at else len(sys.path), path)
    site.addsitedir(path)
sys.path[:0] = {first}
"""

#: Keeps the compiled modules of folders that are only read, and of a standard library that has
#: none, as in images that leave them out to be smaller. Otherwise each container compiles anew
#: what it imports of them.
_COMPILED = """\
def keep_compiled(library, packages):
    import os, sys
    from importlib import machinery
    name = "".join(each if each.isalnum() or each in "._-" else "_" for each in sys.version)
    kept = {path: os.path.join(folder, name[:200]) for path, folder in packages.items()}
    place = os.path.dirname(os.__file__)
    # A package that no Python imports as it starts.
    if library and not os.path.isdir(os.path.join(place, "json", "__pycache__")):
        kept[place] = os.path.join(library, name[:200])
    def find_below(root, folder):
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
        def find(path):
            below = path == root or path.startswith(root + os.sep)
            if not below or root == place and "-packages" in path:
                raise ImportError(path)
            return machinery.FileFinder(path, *kinds)
        return find
    for root, folder in kept.items():
        sys.path_hooks.insert(0, find_below(root, folder))
        for path in list(sys.path_importer_cache):
            if path.startswith(root):
                del sys.path_importer_cache[path]
keep_compiled(LIBRARY, PACKAGES)
"""


def first_lines(
    *,
    first: Sequence[str],
    packages: Mapping[str, str | None],
    compiled: str | None,
) -> str:
    """
    Return the lines; empty if there is nothing to do.

    Arguments:
        first: Paths that come before all others.

        packages: Paths of packages that come before those of the image, each with a folder for
            their compiled modules, or None.

        compiled: A folder for compiled modules of the standard library. None if there is none.
    """
    lines = ""
    kept = {path: folder for path, folder in packages.items() if folder is not None}
    if compiled is not None or kept:
        lines = _COMPILED.replace("LIBRARY, PACKAGES", f"{compiled!r}, {kept!r}")
    if first or packages:
        lines += _PATHS.format(first=list(first), packages=list(packages))
    return lines
