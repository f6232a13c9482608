"""
Where fal-core keeps what it has built.
"""

from __future__ import annotations

import os

#: The variable that names another directory.
CACHE_VARIABLE = "FAL_CORE_CACHE"


def cache_root() -> str:
    """
    Return the directory under which plugins keep what they have built.

    It is an absolute path, and it need not exist. Each plugin has a directory
    of its own in it, as in ``virtualenvs``.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return os.path.abspath(os.path.expanduser(named))
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(os.path.abspath(home), "fal-core")
