"""
Removing directories, so that an environment is there as a whole or not at all.
"""

from __future__ import annotations

import os
import shutil

from fal_env_virtualenv.store.layout import store_root


def discard(path: str) -> None:
    """
    Remove the directory *path*: move it to the trash first, and then delete it.
    """
    trash = os.path.join(store_root(), "trash")
    moved = os.path.join(trash, os.urandom(8).hex())
    try:
        os.makedirs(trash, exist_ok=True)
        os.rename(path, moved)
    except FileNotFoundError:
        return
    shutil.rmtree(moved, ignore_errors=True)


def sweep(key: str) -> None:
    """
    Remove what killed builds of *key* left behind, and the trash.

    The caller holds the lock of *key*, so none of its builds is running.
    """
    root = store_root()
    for place in ("trash", "building"):
        for name in os.listdir(os.path.join(root, place)):
            if place == "trash" or name.startswith(f"{key}."):
                shutil.rmtree(os.path.join(root, place, name), ignore_errors=True)
