"""
The command line ``fal-core``.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Run the command line, and exit with its code.

    Arguments:
        arguments: The arguments of this process where None.
    """
    import sys

    from fal_core.cli.program import run

    sys.exit(run(arguments))
