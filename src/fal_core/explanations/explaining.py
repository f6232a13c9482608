"""Explaining: what a host would do with a function, without doing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from fal_core.calling.preconditions import for_machine, refusals, refuse_detached
from fal_core.calling.serving import Server, missing_requirements
from fal_core.claims import Want, visible_devices
from fal_core.declaring.named_hosts import to_host
from fal_core.declaring.vocabulary import (
    structure_environment,
    structure_gateway,
    structure_host_options,
)
from fal_core.environments import THIS_PYTHON, Environment
from fal_core.errors import FalCoreError, OptionError, PluginError, UnknownNameError
from fal_core.explanations.option_uses import OptionUse, environment_uses, other_uses
from fal_core.explanations.travels import Travel, travel_report
from fal_core.functions import IsolatedFunction
from fal_core.hosts import Host
from fal_core.machines import (
    Device,
    Machine,
    can_discover_devices,
    discover_devices,
    resolve_machine,
)
from fal_core.options import HostOptions
from fal_core.plugins.installed import load_plugins
from fal_core.reprs import show_html, show_size


@attrs.frozen(kw_only=True)
class MachineUse:
    """
    One machine type that a function may run on.

    Attributes:
        states: What it stands for, as far as plugins know.

        takes: What of this machine a call takes. Empty for a host elsewhere, and for a
            machine without GPUs.
    """

    name: str
    states: str
    takes: str = ""


def machine_uses(options: HostOptions, host: Host[..., object]) -> Iterator[MachineUse]:
    """Yield the machine types of a function with *options*, the preferred one first."""
    machines = [_resolve(name, options.num_gpus) for name in options.machine_names]
    if not machines and options.num_gpus:
        machines = [Machine(name="any", gpus=options.num_gpus)]
    # Such a host runs its workers here.
    is_here = host.capabilities.inherits
    devices: list[Device] = []
    if is_here and any(machine.gpus for machine in machines):
        devices = list(visible_devices(discover_devices()))
    for machine in machines:
        takes = _describe_taken(machine, devices) if is_here and machine.gpus else ""
        yield MachineUse(name=machine.name, states=_describe(machine), takes=takes)


def _resolve(name: str, gpus: int | None) -> Machine:
    try:
        machine = resolve_machine(name)
    except (OptionError, PluginError):
        # The check that refuses it says why.
        machine = Machine(name=name)
    return machine if gpus is None else attrs.evolve(machine, gpus=gpus)


def _describe(machine: Machine) -> str:
    stated = []
    if machine.cpus is not None:
        stated.append(f"{machine.cpus:g} {'CPU' if machine.cpus == 1 else 'CPUs'}")
    if machine.memory is not None:
        stated.append(f"{show_size(machine.memory)} of memory")
    if machine.gpus:
        each = "" if machine.gpu_memory is None else show_size(machine.gpu_memory)
        of = " ".join(filter(None, (machine.gpu_model, each)))
        count = f"{machine.gpus} {'GPU' if machine.gpus == 1 else 'GPUs'}"
        stated.append(f"{count} ({of})" if of else count)
    if machine.price is not None:
        stated.append(f"{machine.price:g} an hour")
    return ", ".join(stated) or "nothing is stated"


def _describe_taken(machine: Machine, devices: list[Device]) -> str:
    if not can_discover_devices():
        return "No installed plugin finds GPUs."
    fitting = Want(count=machine.gpus, machine=machine).fitting(devices)
    if len(fitting) < machine.gpus:
        return f"This machine has {len(fitting) or 'none'} of these GPUs."
    named = ", ".join(f"{device.name} {device.uuid}" for device in fitting)
    return f"takes {machine.gpus} of {named}"


#: What workers know of the program that calls, where their host passes it on.
_INHERITED = (
    "They start with the environment variables and the directory that this program has then, "
    "and see no later change of them. Pass what changes as an argument."
)


@attrs.frozen(kw_only=True)
class Explanation:
    """
    What a host would do with a function.

    Attributes:
        runs: Whether a call would be launched.

        reasons: Why it would not, a sentence each.

        notes: What may go wrong later, a sentence each.

        kind: The kind of environment. None where its declaration is wrong.

        machines: The machine types that it may run on, the preferred one first.

        key: The key of the environment. None where it has none yet.

        built: Whether the environment is built already.

        travels: How each module that the function uses reaches the worker.

        workers: What the workers have of the program that calls, as sentences. Empty where
            they have nothing of it.
    """

    function: str
    host: str
    runs: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    options: tuple[OptionUse, ...] = ()
    machines: tuple[MachineUse, ...] = ()
    kind: str | None = None
    key: str | None = None
    built: bool = False
    travels: tuple[Travel, ...] = ()
    workers: str = ""

    def _repr_html_(self) -> str:
        verdict = "runs" if self.runs else "does not run"
        rows = [("reason", reason) for reason in self.reasons]
        if self.kind is not None:
            built = "built" if self.built else "not built yet"
            rows.append(("environment", f"{self.kind} ({built})"))
        rows += [
            (option.use, f"{option.name} = {option.value} {option.why}".rstrip())
            for option in self.options
            if option.name != "kind"
        ]
        rows += [
            ("machine", f"{each.name} {each.states} {each.takes}") for each in self.machines
        ]
        rows += [(f"travels by {each.how}", each.module) for each in self.travels]
        rows += [("note", note) for note in self.notes]
        return show_html(f"{self.function} on {self.host}: {verdict}", rows)


def explain(
    function: IsolatedFunction[..., Any], host: Host[Any, Any] | str | None = None
) -> Explanation:
    """
    Return what *host* would do with *function*; nothing is launched or built.

    Arguments:
        host: The function's own host where None.

    Raises:
        UnknownNameError: No working plugin provides *host*.

        PluginError: Several plugins claim its name.
    """
    name = _name(function)
    shown = host if isinstance(host, str) else (host or function.host).name
    try:
        place = None if host is None else to_host(host)
    except (UnknownNameError, PluginError):
        raise
    except FalCoreError as error:
        return Explanation(function=name, host=shown, runs=False, reasons=(str(error),))
    try:
        there = function if place is None else function.on(place)
        environment = structure_environment(there.options)
        host_options = structure_host_options(there.options, there.host)
        environment = for_machine(environment, host_options)
        gateway = structure_gateway(there.options)
        options = (*environment_uses(there, environment), *other_uses(there, environment))
    except FalCoreError as error:
        return Explanation(function=name, host=shown, runs=False, reasons=(str(error),))
    reasons = [
        str(each) for each in refusals(there.declaration, environment, host_options, gateway)
    ]
    notes = list(_missing(there))
    if there.policy.lifetime == "detached" and (refusal := refuse_detached(there.host)):
        notes.append(f"It can be called, but not spawned: {refusal}")
    added = _serving_needs(there, environment)
    if added:
        environment = environment.extend(added)
        notes.append(f"Serving adds to its environment: {', '.join(added)}.")
    notes += _try_to_seal(there, reasons)
    # Another machine may have what this one lacks, such as another Python.
    here = there.host.capabilities.same_python
    if here and (obstacle := environment.obstacle()):
        reasons.append(obstacle)
    key, built = _find_built(environment, reasons if here else notes)
    return Explanation(
        function=name,
        host=shown,
        runs=not reasons,
        reasons=tuple(dict.fromkeys(reasons)),
        notes=tuple(notes),
        options=options,
        machines=tuple(machine_uses(host_options, there.host)),
        kind=environment.kind,
        key=key,
        built=built,
        travels=_travels(there),
        workers=_INHERITED if there.host.capabilities.inherits else "",
    )


def explain_everywhere(function: IsolatedFunction[..., Any]) -> tuple[Explanation, ...]:
    """Return what each installed host would do with *function*."""
    return tuple(explain(function, name) for name in sorted(load_plugins().hosts))


def _name(function: IsolatedFunction[..., Any]) -> str:
    return getattr(function.raw_func, "__qualname__", None) or function.app_name or "function"


def _try_to_seal(function: IsolatedFunction[..., Any], reasons: list[str]) -> list[str]:
    """Seal *function* as a call would, and return notes on the seal."""
    try:
        launcher = function.make_launcher(rehearsed=True)
    except FalCoreError as error:
        reasons.append(str(error))
        return []
    refusal = launcher.seal.sealed.refusal
    return [f"On another Python than {THIS_PYTHON}: {refusal}"] if refusal else []


def _missing(function: IsolatedFunction[..., Any]) -> Iterator[str]:
    from fal_core.explanations.brought_packages import brought_packages
    from fal_core.sealing.dependencies import all_requirements, find_missing_dependencies

    if function.raw_func is None:
        return
    environment, served = function.options.environment, _served(function)
    missing = list(find_missing_dependencies(served, environment))
    if not missing:
        return
    added = served.requirements if isinstance(served, Server) else ()
    brought, complete = brought_packages([*all_requirements(environment), *added])
    unless = "" if complete else " One that is not installed here may bring it."
    for package, names in missing:
        if package not in brought:
            listed = ", ".join(dict.fromkeys(names))
            yield f"It uses {listed}, and no requirement names the package {package!r}.{unless}"


def _served(function: IsolatedFunction[..., Any]) -> Callable[..., Any]:
    """Return what a call runs: a server where one is installed, else the function itself."""
    try:
        return function.func
    except FalCoreError:
        assert function.raw_func is not None
        return function.raw_func


def _serving_needs(
    function: IsolatedFunction[..., Any], environment: Environment
) -> tuple[str, ...]:
    """
    Return the requirements that a call adds to *environment* to serve the function.

    An environment that accepts no requirements is reported by sealing.
    """
    server = _served(function) if function.raw_func is not None else None
    if not isinstance(server, Server):
        return ()
    added = missing_requirements(environment, server)
    try:
        return added if environment.extend(added) != environment else ()
    except FalCoreError:
        return ()


def _find_built(environment: Environment, reasons: list[str]) -> tuple[str | None, bool]:
    try:
        return environment.key, environment.is_built()
    except FalCoreError as error:
        reasons.append(str(error))
        return None, False


def _travels(function: IsolatedFunction[..., Any]) -> tuple[Travel, ...]:
    if function.raw_func is None:
        return ()
    func = _served(function)
    try:
        report = travel_report(func, function.local_python_modules or ())
    except FalCoreError:
        # Sealing has reported a named module that does not exist.
        return ()
    if not isinstance(func, Server):
        return report
    others = (each for each in report if each.module.partition(".")[0] not in func.packages)
    own = (
        Travel(module=name, how="source", why="It serves the function.")
        for name in func.packages
    )
    return (*others, *own)
