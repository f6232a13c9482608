"""The command line ``fal-core``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.cli.outputs import print_json as print_json
    from fal_core.cli.progress import make_progress as make_progress
    from fal_core.cli.shells.candidates import complete_host as complete_host
    from fal_core.cli.shells.candidates import complete_target as complete_target
    from fal_core.cli.tables import print_table as print_table
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.cli.outputs": "print_json",
            "fal_core.cli.progress": "make_progress",
            "fal_core.cli.shells.candidates": "complete_host complete_target",
            "fal_core.cli.tables": "print_table",
        },
    )
    __all__.append("main")


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Run the command line, and exit with its code.

    Arguments:
        arguments: The arguments of this process where None.
    """
    import sys

    from fal_core.cli.program import run

    sys.exit(run(arguments))
