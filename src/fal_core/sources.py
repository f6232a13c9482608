"""
Source that travels beside a function: its local modules, and the worker itself.
"""

from __future__ import annotations

import functools
import os
import sys

_OURS = ("fal_core", "fal_core_worker", "fal_host_local", "fal_env_virtualenv")


@functools.cache
def _installed_roots() -> tuple[str, ...]:
    import sysconfig

    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({os.path.realpath(paths[name]) + os.sep for name in names})


def is_installed(name: str) -> bool:
    """
    Tell whether module *name* belongs to Python or to an installed distribution.

    A project installed as editable is local, and so is what cannot be found.
    """
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in sys.builtin_module_names or top in _OURS:
        return True
    module = sys.modules.get(name) or sys.modules.get(top)
    path = getattr(module, "__file__", None)
    if path is None:
        locations = list(getattr(module, "__path__", None) or ())
        path = locations[0] if locations else None
    if path is None:
        return False
    if "site-packages" in path or "dist-packages" in path:
        return True
    return os.path.realpath(path).startswith(_installed_roots())


def worker_archive():
    import hashlib, io, os, zipfile, cloudpickle, fal_core_worker
    from fal_core.calls import SourceArchive
    buf = io.BytesIO()
    with zipfile.ZipFile(buf, "w", zipfile.ZIP_DEFLATED) as z:
        for pkg in (fal_core_worker, cloudpickle):
            d = os.path.dirname(pkg.__file__)
            for f in sorted(os.listdir(d)):
                if f.endswith(".py"):
                    z.writestr(zipfile.ZipInfo(f"{pkg.__name__}/{f}"), open(os.path.join(d, f)).read())
    data = buf.getvalue()
    return SourceArchive(hashlib.blake2b(data, digest_size=20).hexdigest(), data)
