"""The catalog: the plugins that were loaded, by what they provide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from fal_core.environments import Environment
from fal_core.errors import PluginError, UnknownNameError
from fal_core.facts import with_facts
from fal_core.hosts import Host
from fal_core.plugins.entry_points import DENIED_VARIABLE, EntryPoint
from fal_core.plugins.hook_calls import HookCalls
from fal_core.plugins.loaders import Claim, PluginDescription, Role
from fal_core.reprs import show_fields

#: The hosts and kinds of environment that the documentation names, and the extra of
#: fal-core that brings each. An extra is suggested only where fal-core has it.
DOCUMENTED: Mapping[Role, Mapping[str, str]] = {
    "host": {"local": "local", "ray": "ray", "serverless": "serverless"},
    "kind of environment": {
        "virtualenv": "local",
        "conda": "conda",
        "container": "container",
    },
}

#: The modules of these distributions that programs import, and the extra that brings each.
MODULES_OF_EXTRAS: Mapping[str, str] = {
    "fal_compat": "compat",
    "fal_env_conda": "conda",
    "fal_env_container": "container",
    "fal_env_virtualenv": "local",
    "fal_host_local": "local",
    "fal_host_ray": "ray",
    "fal_host_serverless": "serverless",
    "fal_machines": "machines",
    "fal_serve": "serve",
    "fal_server": "server",
    "fal_testing": "testing",
}

#: The hint for a name that was given in one role and belongs to the other.
_OTHER_ROLE: Mapping[Role, str] = {
    "host": "It is a kind of environment: write kind={!r}.",
    "kind of environment": "It is a host: write host={!r}.",
}


def offered_extras() -> frozenset[str]:
    """Return the extras that the installed fal-core has."""
    # Imported for an error only: it takes longer to import than all of fal_core.plugins.
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        return frozenset(metadata("fal-core").get_all("Provides-Extra") or ())
    except PackageNotFoundError:
        return frozenset()


@attrs.frozen(kw_only=True, eq=False)
class Plugins:
    """
    The plugins of this process.

    Attributes:
        hosts: The host classes by name.

        environments: The environment classes by kind.

        loaded: The plugins that work.

        broken: Errors for the others, and for names that several plugins claim.

        hooks: Calls a hook of each of them.

        has_observers: Whether any plugin observes calls.
    """

    __repr__ = show_fields

    hosts: Mapping[str, type[Host[..., Any]]]
    environments: Mapping[str, type[Environment]]
    loaded: tuple[PluginDescription, ...]
    broken: tuple[PluginError, ...]
    hooks: HookCalls = attrs.field(repr=False)
    has_observers: bool
    _discarded: Mapping[str, EntryPoint] = attrs.field(repr=False)
    _conflicts: Mapping[Claim, PluginError] = attrs.field(repr=False)
    _offered: Mapping[Claim, PluginError] = attrs.field(repr=False)
    _kept_out: Mapping[EntryPoint, str] = attrs.field(repr=False)

    def find(self, role: Role, name: str) -> Any:
        """
        Return the class that *role* has under *name*.

        Raises:
            PluginError: Several plugins claim the name.

            UnknownNameError: No working plugin provides it.
        """
        classes: Mapping[str, Any] = self.hosts if role == "host" else self.environments
        if name in classes:
            return classes[name]
        if (role, name) in self._conflicts:
            # An error that is raised twice must not collect both tracebacks.
            raise with_facts(self._conflicts[role, name])
        raise UnknownNameError(role, name, tuple(sorted(classes)), self._hint(role, name))

    def conflicts_of(self, role: Role) -> tuple[PluginError, ...]:
        """Return an error for each name that several plugins claim in *role*."""
        return tuple(error for (own, _), error in self._conflicts.items() if own == role)

    def describe(self) -> tuple[PluginDescription, ...]:
        """Return all plugins, described for a listing, each once."""
        conflicts = list(self._conflicts.values())
        broken = [
            PluginDescription(entry=self._discarded[error.plugin], problem=error.problem)
            for error in self.broken
            if error not in conflicts
        ]
        return (*map(self._with_conflicts, self.loaded), *broken)

    def _with_conflicts(self, plugin: PluginDescription) -> PluginDescription:
        """Return *plugin* with what is wrong with names that others claim, too."""
        claims: list[Claim] = [("host", name) for name in plugin.hosts]
        claims += [("kind of environment", name) for name in plugin.environments]
        found = [str(self._conflicts[claim]) for claim in claims if claim in self._conflicts]
        return attrs.evolve(plugin, problem=" ".join(found)) if found else plugin

    def _hint(self, role: Role, name: str) -> str:
        if (role, name) in self._offered:
            return str(self._offered[role, name])
        # What a plugin provides is unknown if its import fails; its own name is a hint.
        near = [error for error in self.broken if name in re.split(r"\W+", error.plugin)]
        if near:
            return " ".join(map(str, near))
        hints = list(self._kept_out_hints(name))
        extra = DOCUMENTED[role].get(name)
        if hints:
            pass
        elif self._is_of_other_role(role, name):
            hints.append(_OTHER_ROLE[role].format(name))
        elif extra is None:
            hints.extend(self._suggestions(role, name))
        elif extra in offered_extras():
            hints.append(f"Install it with `pip install 'fal-core[{extra}]'`.")
        else:
            hints.append("This version of fal-core has no extra that brings it.")
        if self.broken:
            broken = ", ".join(error.plugin for error in self.broken)
            hints.append(
                f"These plugins do not work, and 'fal-core plugins list' says why: {broken}."
            )
        return " ".join(hints)

    def _kept_out_hints(self, name: str) -> Iterator[str]:
        # A plugin that is not imported is known by its name alone.
        for entry, variable in self._kept_out.items():
            if name in re.split(r"\W+", str(entry)):
                verb = "names" if variable == DENIED_VARIABLE else "does not name"
                yield f"Plugin {str(entry)!r} is installed, but {variable} {verb} it."

    def _is_of_other_role(self, role: Role, name: str) -> bool:
        if role == "host":
            return name in self.environments or name in DOCUMENTED["kind of environment"]
        return name in self.hosts or name in DOCUMENTED["host"]

    def _suggestions(self, role: Role, name: str) -> Iterator[str]:
        from difflib import get_close_matches

        classes: Mapping[str, Any] = self.hosts if role == "host" else self.environments
        for near in get_close_matches(name, sorted({*classes, *DOCUMENTED[role]}), n=1):
            yield f"Did you mean {near!r}?"
