"""
Errors of declarations.
"""

from __future__ import annotations


def declaration_error(sentence: str) -> ValueError:
    """
    Return the error of a wrong declaration: fal_core's own where there is fal_core.
    """
    try:
        from fal_core.errors import OptionError
    except ImportError:
        return ValueError(sentence)
    return OptionError(sentence)
