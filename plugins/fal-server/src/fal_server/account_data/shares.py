"""
Shares: how much an account may store in its directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import attrs

from fal_server.account_data.trees import Tree
from fal_server.store.storage_shares import StorageShares


@attrs.define(eq=False)
class DataShares(StorageShares):
    """
    Keeps what clients put into the directory of each account within the limits.

    What its applications write there is counted, but not held up.

    Arguments:
        tree_of: Returns the files of an account.
    """

    _tree_of: Callable[[str], Tree] = attrs.field(kw_only=True)

    async def measure(self, account_id: str) -> tuple[int, int]:
        """
        Return how many files are in the directory of an account, and their bytes.
        """
        return await asyncio.to_thread(self._tree_of(account_id).measure)
