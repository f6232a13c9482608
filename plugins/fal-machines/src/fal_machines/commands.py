"""The commands ``fal-core machines …``."""

from __future__ import annotations

import os
from collections.abc import Sequence

import attrs
import click

from fal_core.claims import Want, visible_devices
from fal_core.cli import print_json, print_table
from fal_core.machines import (
    Device,
    Machine,
    count_cpus,
    discover_devices,
    list_machines,
    resolve_machine,
)
from fal_core.reprs import show_size
from fal_machines import detection

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


@click.group()
def machines() -> None:
    """Look at machine types, and at what this machine has."""


@machines.command("list")
@_json
def list_(as_json: bool) -> None:
    """
    List the machine types that are known.

    What nobody states is a dash.

    \b
    Example:
      fal-core machines list
    """
    known = list_machines()
    if as_json:
        print_json([attrs.asdict(machine) for machine in known])
        return
    headings = ("NAME", "CPUS", "MEMORY", "GPUS", "GPU MODEL", "GPU MEMORY", "PRICE")
    print_table(headings, [_row_of(machine) for machine in known])


@machines.command(short_help="Show what a machine type stands for.")
@click.argument("name")
@_json
def describe(name: str, as_json: bool) -> None:
    """
    Show what a machine type stands for, who states it, and whether it is here.

    \b
    Example:
      fal-core machines describe H100
    """
    machine = resolve_machine(name)
    devices = discover_devices()
    missing = why_not_here(machine, devices)
    want = Want(count=machine.gpus, machine=machine)
    accepted = want.fitting(visible_devices(devices)) if machine.gpus else []
    if as_json:
        told = attrs.asdict(machine)
        print_json(
            {**told, "here": not missing, "missing": missing, "devices": _told(accepted)}
        )
        return
    _, cpus, memory, gpus, model, gpu_memory, price = _row_of(machine)
    rows = [("cpus", cpus), ("memory", memory), ("gpus", gpus)]
    if machine.gpus:
        rows += [
            ("gpu model", model),
            ("gpu memory", gpu_memory),
            ("compute capability", machine.compute_capability or "-"),
        ]
    rows += [("price", price), ("source", machine.source or "-")]
    print_table((machine.name, ""), rows)
    click.echo()
    if missing:
        click.echo(f"This machine does not fit. {' '.join(missing)}")
    else:
        click.echo("This machine fits.")
    if accepted:
        click.echo(f"Of these GPUs, {machine.gpus} would be taken:")
        _print_devices(accepted)


@machines.command()
@_json
def detect(as_json: bool) -> None:
    """
    Show what this machine has: processors, memory, accelerators.

    The exit code is 1 where a driver is there and fails.

    \b
    Example:
      fal-core machines detect
    """
    found = detection.detect()
    # They are said below, and not by those who ask all plugins.
    detection.remember(found.faults)
    devices = discover_devices()
    fitting = [each.name for each in list_machines() if not why_not_here(each, devices)]
    if as_json:
        print_json(
            {
                "cpus": count_cpus(),
                "memory": measure_memory(),
                "devices": _told(devices),
                "absent": found.absent,
                "faults": found.faults,
                "machines": fitting,
            }
        )
    else:
        click.echo(f"{count_cpus()} CPUs, {show_size(measure_memory())} of memory")
        if devices:
            click.echo()
            _print_devices(devices)
            click.echo()
        else:
            click.echo(found.absent or "No GPU was found.")
        click.echo(f"Machine types that fit here: {', '.join(fitting) or 'none'}.")
        for fault in found.faults:
            click.echo(f"Error: {fault}", err=True)
    if found.faults:
        raise click.exceptions.Exit(1)


def _row_of(machine: Machine) -> tuple[str, ...]:
    return (
        machine.name,
        _written(machine.cpus),
        _size(machine.memory),
        str(machine.gpus),
        machine.gpu_model or "-",
        _size(machine.gpu_memory),
        _written(machine.price),
    )


def _print_devices(devices: list[Device]) -> None:
    headings = ("KIND", "INDEX", "NAME", "MEMORY", "USED", "CAPABILITY", "UUID")
    rows = [
        (
            device.kind,
            str(device.index),
            device.name,
            _size(device.memory),
            _size(device.used),
            device.compute_capability or "-",
            device.uuid,
        )
        for device in devices
    ]
    print_table(headings, rows)


def _told(devices: list[Device]) -> list[dict[str, object]]:
    return [attrs.asdict(device) for device in devices]


def _size(size: int | None) -> str:
    return "-" if size is None else show_size(size)


def _written(number: float | None) -> str:
    return "-" if number is None else f"{number:g}"


def measure_memory() -> int:
    """Return the bytes of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def why_not_here(machine: Machine, devices: Sequence[Device]) -> list[str]:
    """
    Return what this machine lacks to be *machine*, as sentences. What is not stated of
    *machine* is not lacking.

    Arguments:
        devices: Those of this machine, whether or not this process may use them.
    """
    lacking = []
    cpus, memory = count_cpus(), measure_memory()
    if machine.cpus is not None and machine.cpus > cpus:
        lacking.append(f"It has {cpus} of {machine.cpus:g} CPUs.")
    if machine.memory is not None and machine.memory > memory:
        has, wanted = show_size(memory), show_size(machine.memory)
        lacking.append(f"It has {has} of {wanted} of memory.")
    want = Want(count=machine.gpus, machine=machine)
    there, usable = len(want.fitting(devices)), len(want.fitting(visible_devices(devices)))
    if machine.gpus > usable:
        hidden = f" CUDA_VISIBLE_DEVICES lets this process use {usable} of them."
        has = f"It has {there} of {machine.gpus} such GPUs."
        lacking.append(has + hidden if there > usable else has)
    return lacking
