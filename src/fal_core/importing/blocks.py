"""``with imports():`` at the top of a file."""

from __future__ import annotations

from typing import Any

from fal_core_worker.importing.blocks import Block


def imports() -> Block:
    """
    Make the imports that stand in a ``with`` statement at their first use.

    The packages need not be installed here: functions take the imports along to where they
    run. A module that is here is the real one. One that is not is an error where code uses it
    here, which says where it runs.

    Only import statements may stand in it, none of them with a star, and it stands at the top
    of a file.

    Raises:
        SyntaxError: Something else does, or it stands in a function.

        ImportError: A relative import stands in a file that belongs to no package.
    """
    return Block(_explain)


def _explain(module: str, space: dict[str, Any]) -> str:
    from fal_core.importing.missing import explain_use

    return explain_use(module, space)
