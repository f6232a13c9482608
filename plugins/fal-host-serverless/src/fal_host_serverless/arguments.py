"""
Arguments: what a caller says, as against what a declaration does.
"""

from __future__ import annotations

from fal_core.errors import OptionError


class WrongArgument(OptionError):
    """
    What a caller says cannot be; on a command line its use is wrong.
    """
