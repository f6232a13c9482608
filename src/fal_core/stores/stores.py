"""Stores: what ``fal-core env`` asks each of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fal_core.stores.entries import StoredEntry

#: What a store keeps: what calls run in, and what that is made from.
Category = Literal["environments", "images", "layers", "caches"]


class Store(ABC):
    """
    A place where things that a kind of environment has built are kept.

    Attributes:
        kind: The kind of environment.

        category: What is kept there.

        is_shared: Whether others use it too, as they use a builder's own cache. It is
            shown, and only its leftovers are removed.
    """

    kind: str
    category: Category
    is_shared: bool = False

    @abstractmethod
    def entries(self) -> list[StoredEntry]:
        """
        Return what is kept, in any order.

        Raises:
            FalCoreError: It cannot be listed; the error says what to do.
        """

    @abstractmethod
    def remove(self, entry: StoredEntry) -> bool:
        """
        Remove *entry*, unless it is in use; return whether it is gone.

        Raises:
            FalCoreError: It cannot be removed; the error says what to do.
        """

    def leftovers(self, *, dry_run: bool) -> int:
        """
        Remove what builds that were killed have left behind; return how many bytes.

        Arguments:
            dry_run: Whether to remove nothing, and only count.
        """
        return 0
