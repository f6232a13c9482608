"""Capacities: what this machine has, and what runners may use of it."""

from __future__ import annotations

import os

import attrs


@attrs.frozen
class Use:
    """
    What runners may use together.

    Attributes:
        memory: Bytes; 0 where nobody knows.

        gpus: How many GPUs.
    """

    memory: int = 0
    gpus: int = 0


def describe_crowding(present: Use, another: Use, gpus: int) -> str:
    """
    Return why runners leave no room on this machine for another one, as a sentence. Empty
    where they do, and where no limit is known.

    Arguments:
        present: What those use that there are.

        another: What the new one would.

        gpus: How many GPUs there are.
    """
    memory, more_memory = present.memory, another.memory
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if memory and more_memory and memory + more_memory > total:
        return (
            f"The previous runners may use {_write(memory)} of memory and a new one "
            f"{_write(more_memory)}, and this machine has {_write(total)}."
        )
    if not (present.gpus and another.gpus) or present.gpus + another.gpus <= gpus:
        return ""
    used = f"{present.gpus} GPU" if present.gpus == 1 else f"{present.gpus} GPUs"
    return (
        f"The previous runners use {used} and a new one {another.gpus}, and this machine has "
        f"{gpus}."
    )


def _write(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
