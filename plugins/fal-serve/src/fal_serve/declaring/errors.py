"""Errors of declarations."""

from __future__ import annotations


def declaration_error(sentence: str) -> ValueError:
    """Return the error of an invalid declaration: an OptionError if fal_core is installed."""
    try:
        from fal_core.errors import OptionError
    except ImportError:
        return ValueError(sentence)
    return OptionError(sentence)
