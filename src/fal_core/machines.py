"""
Machines and the devices they have.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Machine:
    """
    The resources that a machine type stands for.

    Attributes:
        name: The machine type, as in ``GPU-H100``.

        cpus: How many processors. None where the host decides.

        memory: Bytes of main memory. None where the host decides.

        gpus: How many GPUs.

        gpu_model: The vendor's name of the GPUs. None for any.
    """

    name: str
    cpus: float | None = None
    memory: int | None = None
    gpus: int = 0
    gpu_model: str | None = None


def resolve_machine(name: str) -> Machine:
    """
    Return the machine that the machine type *name* stands for, as the first plugin that
    knows it says.

    Raises:
        OptionError: No installed plugin knows it.

        PluginError: One of them failed, and no other knows it.
    """
    from fal_core.front import resolve_machine

    return resolve_machine(name)


@attrs.frozen(kw_only=True)
class Device:
    """
    An accelerator that this machine has.

    Attributes:
        kind: Such as ``gpu``.

        index: Its number among the devices of its kind.

        name: The vendor's name of the model.

        uuid: What names this one device, also after the machine was started again.

        memory: Bytes.
    """

    kind: str
    index: int
    name: str
    uuid: str
    memory: int
