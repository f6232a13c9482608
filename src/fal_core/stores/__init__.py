"""
Stores: what kinds of environments build and keep, and how it is found again and removed.

The author of a kind builds into a :class:`DirectoryStore`, or implements a :class:`Store`
for what something else keeps, such as the images of a container engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.stores.builds import Build, exiting, locked
    from fal_core.stores.child_output import read_lines
    from fal_core.stores.directories import DirectoryStore
    from fal_core.stores.disks import (
        describe_disk_error,
        disk_usage,
        file_stamps,
        list_directory,
    )
    from fal_core.stores.entries import StoredEntry
    from fal_core.stores.processes import (
        command_lines,
        is_visible,
        process_ids,
        read_process,
    )
    from fal_core.stores.pruning import Pruned, entries_of, prune
    from fal_core.stores.removal import remove_failures
    from fal_core.stores.sizes import children_usage, entry_usage
    from fal_core.stores.stores import Category, Store

__all__ = [
    "Build",
    "Category",
    "DirectoryStore",
    "Pruned",
    "Store",
    "StoredEntry",
    "children_usage",
    "command_lines",
    "describe_disk_error",
    "disk_usage",
    "entries_of",
    "entry_usage",
    "exiting",
    "file_stamps",
    "is_visible",
    "list_directory",
    "locked",
    "process_ids",
    "prune",
    "read_lines",
    "read_process",
    "remove_failures",
]

_exports = lazily(
    __name__,
    {
        "Build": "fal_core.stores.builds",
        "Category": "fal_core.stores.stores",
        "DirectoryStore": "fal_core.stores.directories",
        "Pruned": "fal_core.stores.pruning",
        "Store": "fal_core.stores.stores",
        "StoredEntry": "fal_core.stores.entries",
        "children_usage": "fal_core.stores.sizes",
        "command_lines": "fal_core.stores.processes",
        "describe_disk_error": "fal_core.stores.disks",
        "disk_usage": "fal_core.stores.disks",
        "entry_usage": "fal_core.stores.sizes",
        "entries_of": "fal_core.stores.pruning",
        "exiting": "fal_core.stores.builds",
        "file_stamps": "fal_core.stores.disks",
        "is_visible": "fal_core.stores.processes",
        "list_directory": "fal_core.stores.disks",
        "locked": "fal_core.stores.builds",
        "process_ids": "fal_core.stores.processes",
        "prune": "fal_core.stores.pruning",
        "read_lines": "fal_core.stores.child_output",
        "read_process": "fal_core.stores.processes",
        "remove_failures": "fal_core.stores.removal",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
