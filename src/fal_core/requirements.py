"""
The names of packages in requirements.
"""

from __future__ import annotations

import re


def canonical_name(name: str) -> str:
    """
    Return *name* of a package, normalised: all spellings of one name become the same.
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(requirement: str) -> str:
    """
    Return the name of the package that *requirement* asks for; empty if it has none.
    """
    egg = re.search(r"#(?:.*&)?egg=([A-Za-z0-9._-]+)", requirement)
    named = egg or re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)(?![A-Za-z0-9+:/])", requirement)
    return canonical_name(named[1]) if named else ""
