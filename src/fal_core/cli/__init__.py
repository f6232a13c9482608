"""The command line ``fal-core``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.cli.outputs import print_json
    from fal_core.cli.progress import make_progress
    from fal_core.cli.shells.candidates import complete_host, complete_target
    from fal_core.cli.tables import print_table

__all__ = [
    "complete_host",
    "complete_target",
    "main",
    "make_progress",
    "print_json",
    "print_table",
]

_exports = lazily(
    __name__,
    {
        "complete_host": "fal_core.cli.shells.candidates",
        "complete_target": "fal_core.cli.shells.candidates",
        "make_progress": "fal_core.cli.progress",
        "print_json": "fal_core.cli.outputs",
        "print_table": "fal_core.cli.tables",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Run the command line, and exit with its code.

    Arguments:
        arguments: The arguments of this process where None.
    """
    import sys

    from fal_core.cli.program import run

    sys.exit(run(arguments))
