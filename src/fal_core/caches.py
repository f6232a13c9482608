"""
Where fal-core keeps what it has built.

Workers keep there too, without a core, so this is theirs.
"""

from __future__ import annotations

from fal_core_worker.archives import CACHE_VARIABLE, cache_root

__all__ = ["CACHE_VARIABLE", "cache_root"]
