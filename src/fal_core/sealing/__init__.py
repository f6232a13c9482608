"""Sealing: functions and arguments made into bytes that travel, and opened again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.sealing.envelopes import decode_call, encode_call
    from fal_core.sealing.functions import seal_function
    from fal_core.sealing.packing import pack_function
    from fal_core.sealing.plain import load_plain, open_plain
    from fal_core.sealing.sources import check_local_modules, worker_archive

__all__ = [
    "check_local_modules",
    "decode_call",
    "encode_call",
    "load_plain",
    "open_plain",
    "pack_function",
    "seal_function",
    "worker_archive",
]

_exports = lazily(
    __name__,
    {
        "check_local_modules": "fal_core.sealing.sources",
        "decode_call": "fal_core.sealing.envelopes",
        "encode_call": "fal_core.sealing.envelopes",
        "load_plain": "fal_core.sealing.plain",
        "open_plain": "fal_core.sealing.plain",
        "pack_function": "fal_core.sealing.packing",
        "seal_function": "fal_core.sealing.functions",
        "worker_archive": "fal_core.sealing.sources",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
