"""
Stores: what kinds of environments build and keep, and how it is found again and removed.

The author of a kind builds into a :class:`DirectoryStore`, or implements a :class:`Store`
for what something else keeps, such as the images of a container engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.stores.builds import Build as Build
    from fal_core.stores.builds import exiting as exiting
    from fal_core.stores.builds import locked as locked
    from fal_core.stores.child_output import read_lines as read_lines
    from fal_core.stores.directories import DirectoryStore as DirectoryStore
    from fal_core.stores.disks import describe_disk_error as describe_disk_error
    from fal_core.stores.disks import disk_usage as disk_usage
    from fal_core.stores.disks import file_stamps as file_stamps
    from fal_core.stores.disks import list_directory as list_directory
    from fal_core.stores.entries import StoredEntry as StoredEntry
    from fal_core.stores.processes import command_lines as command_lines
    from fal_core.stores.processes import is_visible as is_visible
    from fal_core.stores.processes import process_ids as process_ids
    from fal_core.stores.processes import read_process as read_process
    from fal_core.stores.pruning import Pruned as Pruned
    from fal_core.stores.pruning import entries_of as entries_of
    from fal_core.stores.pruning import prune as prune
    from fal_core.stores.removal import remove_failures as remove_failures
    from fal_core.stores.sizes import children_usage as children_usage
    from fal_core.stores.sizes import entry_usage as entry_usage
    from fal_core.stores.stores import Category as Category
    from fal_core.stores.stores import Store as Store
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.stores.builds": "Build exiting locked",
            "fal_core.stores.child_output": "read_lines",
            "fal_core.stores.directories": "DirectoryStore",
            "fal_core.stores.disks": (
                "describe_disk_error disk_usage file_stamps list_directory"
            ),
            "fal_core.stores.entries": "StoredEntry",
            "fal_core.stores.processes": "command_lines is_visible process_ids read_process",
            "fal_core.stores.pruning": "Pruned entries_of prune",
            "fal_core.stores.removal": "remove_failures",
            "fal_core.stores.sizes": "children_usage entry_usage",
            "fal_core.stores.stores": "Category Store",
        },
    )
