"""Loaders: each plugin is imported, checked and registered apart from the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any, Literal

import attrs
import pluggy

from fal_core import hooks
from fal_core.conversion.annotations import option_types
from fal_core.errors import FalCoreError, PluginError
from fal_core.plugins import validation
from fal_core.plugins.entry_points import EntryPoint
from fal_core.plugins.hook_names import check_hook_names, check_hook_runs
from fal_core.reprs import in_one_line, show_fields

Role = Literal["host", "kind of environment"]

#: A name and the role it is a name in.
Claim = tuple[Role, str]


# What a plugin may provide: the hook that returns the classes, the attribute that holds
# the name of a class, and the check of a class.
_PROVIDED: tuple[tuple[Role, str, str, Callable[[object], str | None]], ...] = (
    ("host", "fal_register_hosts", "name", validation.check_host),
    ("kind of environment", "fal_register_environments", "kind", validation.check_environment),
)


@attrs.frozen(kw_only=True)
class PluginDescription:
    """
    A plugin as a listing shows it.

    Attributes:
        hosts: The names of the hosts it provides.

        environments: The kinds of environment it provides.

        hooks: The names of all hooks it answers.

        problem: What is wrong with it, as a sentence; empty where all is well.
    """

    __repr__ = show_fields

    entry: EntryPoint
    hosts: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    problem: str = ""


#: What can be a hook.
_HOOKS = (FunctionType, MethodType, staticmethod, classmethod)


class _Manager(pluggy.PluginManager):
    """Looks for hooks among the functions of a module only; pluggy inspects every object."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        return super().parse_hookimpl_opts(plugin, name) if _is_hook(plugin, name) else None

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        if not _is_hook(module_or_class, name):
            return None
        return super().parse_hookspec_opts(module_or_class, name)


def _is_hook(owner: object, name: str) -> bool:
    """Tell whether *name* of *owner* may be a hook."""
    # A plugin that is no module may inherit its hooks.
    return type(owner) is not ModuleType or isinstance(vars(owner).get(name), _HOOKS)


@attrs.define(eq=False)
class Loader:
    """
    Loads plugins one after the other; of a broken one nothing stays but its error.

    Attributes:
        classes: For each name the plugins that claim it, and their classes.

        discarded: The broken plugins, by the names in their errors.

        offered: What broken plugins would have provided, where that is known.
    """

    __repr__ = show_fields

    manager: pluggy.PluginManager = attrs.field(init=False)
    loaded: list[PluginDescription] = attrs.field(factory=list)
    broken: list[PluginError] = attrs.field(factory=list)
    classes: dict[Claim, dict[str, type]] = attrs.field(factory=lambda: defaultdict(dict))
    discarded: dict[str, EntryPoint] = attrs.field(factory=dict)
    offered: dict[Claim, PluginError] = attrs.field(factory=dict)
    _own: set[str] = attrs.field(factory=set)
    _host_options: dict[str, Any] = attrs.field(factory=dict)
    _environment_options: dict[str, str] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.manager = _Manager("fal_core")
        self.manager.add_hookspecs(hooks)

    def add(
        self, entry: EntryPoint, plugin: object | None = None, *, is_own: bool = False
    ) -> None:
        """
        Load the plugin of *entry*; *plugin*, where given, is registered in its place.

        Arguments:
            is_own: Whether it belongs to fal-core. It comes before the others, and a name
                that it provides is left to it: a plugin that claims it too is broken.
        """
        if is_own:
            self._own.add(str(entry))
        claims: dict[Claim, type] = {}
        is_new = not self.manager.has_plugin(str(entry))
        try:
            _raise_for(entry, None if is_new else "a plugin of this name is loaded already.")
            loaded = entry.load() if plugin is None else plugin
            _raise_for(entry, validation.check_version(loaded))
            self._register(entry, loaded)
            self._claim(entry, loaded, claims)
            self._check(entry, claims)
        except KeyboardInterrupt:
            raise
        # A plugin may end its import in any way, SystemExit among them.
        except BaseException as error:
            if is_new and self.manager.has_plugin(str(entry)):
                self.manager.unregister(name=str(entry))
            self._discard(entry, claims, error)
        else:
            self._keep(entry, claims)

    def conflicts(self) -> dict[Claim, PluginError]:
        """Return an error for each name that several plugins claim."""
        return {
            (role, name): PluginError(
                " and ".join(sorted(sides)),
                f"each provides the {role} {name!r}. Uninstall one of them, or name "
                "one in the variable FAL_CORE_PLUGINS_DENY.",
            )
            for (role, name), sides in self.classes.items()
            if len(sides) > 1
        }

    def _register(self, entry: EntryPoint, plugin: object) -> None:
        self.manager.register(plugin, str(entry))
        answered = {caller.name for caller in self.manager.get_hookcallers(plugin) or ()}
        _raise_for(entry, check_hook_names(plugin, answered))
        for name in sorted(answered):
            for implementation in getattr(self.manager.hook, name).get_hookimpls():
                if implementation.plugin is plugin and not implementation.wrapper:
                    _raise_for(entry, check_hook_runs(name, implementation.function))

    def _claim(self, entry: EntryPoint, plugin: object, claims: dict[Claim, type]) -> None:
        """Add to *claims* what *plugin* provides, including what breaks the contract."""
        for role, hook, label, check in _PROVIDED:
            for cls in self._answers(entry, hook, plugin):
                claim = role, str(getattr(cls, label, cls))
                _raise_for(
                    entry, f"it provides {claim[1]!r} twice." if claim in claims else None
                )
                _raise_for(entry, self._check_owner(claim))
                claims[claim] = cls
                _raise_for(entry, check(cls))

    def _check_owner(self, claim: Claim) -> str | None:
        """Check that a plugin does not claim a name that one of fal-core's own has."""
        role, name = claim
        for side in self._own.intersection(self.classes.get(claim, ())):
            return (
                f"it provides the {role} {name!r}, which is that of {side}. Give it another "
                "name, or name that plugin in the variable FAL_CORE_PLUGINS_DENY."
            )
        return None

    def _answers(self, entry: EntryPoint, hook: str, plugin: object) -> Iterator[Any]:
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            if implementation.plugin is plugin:
                answer = implementation.function()
                _raise_for(entry, _check_answer(hook, answer))
                yield from answer

    def _check(self, entry: EntryPoint, claims: Mapping[Claim, type[Any]]) -> None:
        for (role, _), cls in claims.items():
            options = cls.options if role == "host" else cls
            if isinstance(options, type):
                problem = validation.check_together(
                    self._host_options, self._environment_options, options
                )
                _raise_for(entry, problem)

    def _discard(
        self, entry: EntryPoint, claims: Mapping[Claim, type[Any]], error: BaseException
    ) -> None:
        if not isinstance(error, PluginError):
            cause = error
            said = f"{type(cause).__name__}: {in_one_line(cause)}"
            where = _place_of(cause) if isinstance(cause, FalCoreError) else ""
            error = PluginError(str(entry), f"it could not be loaded: {said}{where}.")
            error.__cause__ = cause
        self.broken.append(error)
        self.discarded[error.plugin] = entry
        self.offered.update(dict.fromkeys(claims, error))

    def _keep(self, entry: EntryPoint, claims: Mapping[Claim, type[Any]]) -> None:
        for (role, name), cls in claims.items():
            self.classes[role, name][str(entry)] = cls
            if role != "host":
                self._environment_options.update(dict.fromkeys(option_types(cls), name))
            elif isinstance(cls.options, type):
                self._host_options.update(option_types(cls.options))
        plugin = self.manager.get_plugin(str(entry))
        callers = self.manager.get_hookcallers(plugin) or ()
        self.loaded.append(
            PluginDescription(
                entry=entry,
                hosts=tuple(name for role, name in claims if role == "host"),
                environments=tuple(name for role, name in claims if role != "host"),
                hooks=tuple(sorted(caller.name for caller in callers)),
            )
        )


def _check_answer(hook: str, answer: object) -> str | None:
    """Check that a *hook* that provides classes has returned several."""
    if isinstance(answer, type):
        name = answer.__name__
        return f"its hook {hook} returned the class {name}. Write 'return [{name}]'."
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        kind = type(answer).__name__.removesuffix("Type")
        return f"its hook {hook} returned {kind}. Return a list of classes."
    return None


def _place_of(error: BaseException) -> str:
    """Return where a plugin has done what *error* refuses, if that is known."""
    place, trace = "", error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        file = trace.tb_frame.f_code.co_filename
        if module.partition(".")[0] not in ("fal_core", "pluggy") and not file.startswith("<"):
            place = f" ({file}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place


def _raise_for(entry: EntryPoint, problem: str | None) -> None:
    if problem is not None:
        raise PluginError(str(entry), problem)
