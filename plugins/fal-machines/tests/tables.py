"""
The table of machine types in the documentation, from the catalogue.

``python tables.py`` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator

from fal_core.machines import Machine
from fal_core.reprs import show_size
from fal_machines.catalogues import catalogue

HEADINGS = ("type", "CPUs", "memory", "GPUs", "model", "memory of each", "capability", "source")


def draw_table() -> Iterator[str]:
    """Yield the lines of the table, as Markdown."""
    yield f"| {' | '.join(HEADINGS)} |"
    yield f"|{'---|' * len(HEADINGS)}"
    for machine in catalogue().values():
        yield f"| {' | '.join(_cells_of(machine))} |"


def _cells_of(machine: Machine) -> Iterator[str]:
    yield f"`{machine.name}`"
    yield "" if machine.cpus is None else f"{machine.cpus:g}"
    yield "" if machine.memory is None else show_size(machine.memory)
    yield str(machine.gpus or "")
    yield machine.gpu_model or ""
    yield "" if machine.gpu_memory is None else show_size(machine.gpu_memory)
    yield machine.compute_capability or ""
    links = (machine.source or "").split(", ")
    yield ", ".join(f"[{number}]({link})" for number, link in enumerate(links, 1) if link)


if __name__ == "__main__":
    print("\n".join(draw_table()))
