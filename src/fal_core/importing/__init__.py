"""
Importing: imports at the top of a file of what is there only where its functions run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.importing.blocks import imports

__all__ = ["imports"]

__getattr__, __dir__ = lazily(__name__, {"imports": "fal_core.importing.blocks"})
