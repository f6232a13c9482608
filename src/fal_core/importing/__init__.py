"""Importing: imports at the top of a file of what is there only where its functions run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.importing.blocks import imports

__all__ = ["imports"]

_exports = lazily(__name__, {"imports": "fal_core.importing.blocks"})

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
