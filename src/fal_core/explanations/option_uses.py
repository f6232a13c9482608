"""Option uses: what a host does with each option of a function."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import attrs

from fal_core.calling.preconditions import find_unsupported
from fal_core.conversion.annotations import option_names
from fal_core.declaring.shown_options import shown_fields, shown_value
from fal_core.declaring.vocabulary import structure_host_options
from fal_core.environments import Environment
from fal_core.functions import IsolatedFunction
from fal_core.options import HostOptions
from fal_core.plugins.installed import load_plugins
from fal_core.policies import Policy

Part = Literal["environment", "host", "gateway", "core"]
Use = Literal["applies", "kept", "ignored"]


@attrs.frozen(kw_only=True)
class OptionUse:
    """
    What a host does with one option.

    Attributes:
        value: The ``repr`` of the value, without credentials.

        part: What the option belongs to; those of the ``core`` apply on every host.

        use: ``applies``: the host acts on it. ``kept``: another installed host acts on
            it. ``ignored``: no installed host does; it stays in the function.
    """

    name: str
    value: str
    part: Part
    use: Use = "applies"
    why: str = ""


def environment_uses(
    function: IsolatedFunction[..., Any], environment: Environment
) -> Iterator[OptionUse]:
    """Yield the options of *environment*, which *function* declares."""
    yield OptionUse(name="kind", value=repr(environment.kind), part="environment")
    own = function.options.environment
    names = [name for name in option_names(type(environment)) if name in own]
    for name, shown in shown_fields(environment, names):
        yield OptionUse(name=name, value=shown, part="environment")
    for name, value in function.options.kept.items():
        yield _kept_use(name, value)


def _kept_use(name: str, value: Any) -> OptionUse:
    """Return the use of an option that is kept for other kinds of environments."""
    shown, kinds = "…", []
    cls: Any
    for kind, cls in sorted(load_plugins().environments.items()):
        field = {each.alias: each for each in attrs.fields(cls)}.get(name)
        if field is not None:
            shown = shown_value(field, value)
            kinds.append(repr(kind))
    why = f"for kind {' or '.join(kinds)}." if kinds else "for a kind that is not installed."
    return OptionUse(name=name, value=shown, part="environment", use="kept", why=why)


def other_uses(
    function: IsolatedFunction[..., Any], environment: Environment
) -> Iterator[OptionUse]:
    """Yield the options of the host, the gateway and the core."""
    typed = structure_host_options(function.options, function.host)
    unsupported = find_unsupported(function.options, function.host, typed, environment)
    for name, value in function.options.host.items():
        if value is None:
            continue
        shown = getattr(value, "__qualname__", None) or repr(value)
        if name not in unsupported:
            yield OptionUse(name=name, value=shown, part="host")
            continue
        others = sorted(_users_of(name))
        # A host that gives a reason acts on the option where the reason does not hold.
        reason = unsupported[name]
        use: Use = "kept" if others or reason else "ignored"
        why = f"for {', '.join(others)}." if others else "no installed host acts on it."
        why = reason or why
        yield OptionUse(name=name, value=shown, part="host", use=use, why=why)
    for name, value in function.options.gateway.items():
        if function.host.capabilities.serve or not value:
            yield OptionUse(name=name, value=repr(value), part="gateway")
        else:
            yield OptionUse(
                name=name,
                value=repr(value),
                part="gateway",
                use="kept",
                why="for hosts that serve.",
            )
    for field in attrs.fields(Policy):
        value = getattr(function.policy, field.name)
        if value != field.default:
            yield OptionUse(name=field.name, value=repr(value), part="core")


def _users_of(option: str) -> Iterator[str]:
    """Yield the names of the installed hosts that act on *option*."""
    for name, cls in load_plugins().hosts.items():
        # A wrapper host computes both, so its class does not say what it acts on.
        options, capabilities = cls.options, cls.capabilities
        if not isinstance(options, type) or isinstance(capabilities, property):
            continue
        acted_on = capabilities.options
        if option not in option_names(options):
            continue
        if acted_on is None or option in acted_on or option not in option_names(HostOptions):
            yield name
