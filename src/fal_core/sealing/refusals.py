"""
Why something has no portable form.
"""

from __future__ import annotations


class NotPortable(Exception):
    """
    There is no sound portable form; the text is a sentence that says why.
    """
