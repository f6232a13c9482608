"""Sealing: functions and arguments made into bytes that travel, and opened again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.sealing.envelopes import decode_call as decode_call
    from fal_core.sealing.envelopes import encode_call as encode_call
    from fal_core.sealing.functions import seal_function as seal_function
    from fal_core.sealing.packing import pack_function as pack_function
    from fal_core.sealing.plain import load_plain as load_plain
    from fal_core.sealing.plain import open_plain as open_plain
    from fal_core.sealing.sources import check_local_modules as check_local_modules
    from fal_core.sealing.sources import worker_archive as worker_archive
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.sealing.envelopes": "decode_call encode_call",
            "fal_core.sealing.functions": "seal_function",
            "fal_core.sealing.packing": "pack_function",
            "fal_core.sealing.plain": "load_plain open_plain",
            "fal_core.sealing.sources": "check_local_modules worker_archive",
        },
    )
