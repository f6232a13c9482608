"""
Pickle, without what the module of that name imports besides.

``pickle`` has a pickler of its own, in Python, for which it brings regular expressions.
To import it takes a fifth of the time in which a worker starts.
"""

from __future__ import annotations

try:
    from _pickle import Pickler, Unpickler, dumps, load, loads
except ImportError:
    # This Python has no other.
    from pickle import Pickler, Unpickler, dumps, load, loads

__all__ = ["Pickler", "Unpickler", "dumps", "load", "loads"]
