"""Known options: every option that the installed plugins know, and what it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from fal_core.conversion.annotations import option_names
from fal_core.errors import OptionError, UnknownOptionError, WrongKindError
from fal_core.options import Gateway, HostOptions
from fal_core.plugins.catalog import Plugins
from fal_core.reprs import show_fields

#: The options of documented kinds, so that the error for one of them is more than
#: *unknown option* where its plugin is not installed.
DOCUMENTED_KINDS: Mapping[str, tuple[str, ...]] = {
    "virtualenv": ("requirements", "python_version", "resolver", "force", "compile_bytecode"),
    "conda": (
        "python_version",
        "env_dict",
        "env_yml",
        "env_yml_str",
        "packages",
        "pip",
        "channels",
        "force",
    ),
    "container": ("image", "python_version", "requirements", "resolver", "force"),
}

#: Options that the released SDK spells otherwise, and their names here.
SPELLINGS: Mapping[str, str] = {"force_env_build": "force"}


#: Names that mean another option than the one of nearest spelling.
_MEANT: Mapping[str, str] = {
    "retry": "retries",
    **dict.fromkeys(("gpu", "cpu", "cpus", "memory", "machine"), "machine_type"),
    "gpus": "num_gpus",
    "dockerfile": "image",
}


@attrs.frozen(kw_only=True, eq=False)
class KnownOptions:
    """
    The options that the plugins of this process know.

    Attributes:
        plugins: The plugins that they were read from.

        others: Classes of options of hosts that are no plugin, which were read too.

        host: For each option of a host the class that declares it.

        gateway: The options of the gateway.

        environments: The options of each kind, those documented kinds included
            that are not installed.
    """

    __repr__ = show_fields

    plugins: Plugins
    others: tuple[type[HostOptions], ...] = ()
    host: Mapping[str, type[HostOptions]]
    gateway: tuple[str, ...]
    environments: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, plugins: Plugins, others: tuple[type[HostOptions], ...] = ()) -> KnownOptions:
        """Return the options that *plugins* know, and those of *others*."""
        host: dict[str, type[HostOptions]] = {}
        installed_options = (each.options for each in plugins.hosts.values())
        for options in (HostOptions, *installed_options, *others):
            # A wrapper host computes its options; those of the inner host are known.
            if isinstance(options, type):
                for name in option_names(options):
                    host.setdefault(name, options)
        installed = {kind: option_names(each) for kind, each in plugins.environments.items()}
        return cls(
            plugins=plugins,
            others=others,
            host=host,
            gateway=option_names(Gateway),
            environments={**DOCUMENTED_KINDS, **installed},
        )

    def refuse(self, option: str, kind: str) -> OptionError:
        """Return the error for *option*, which environments of *kind* do not take."""
        usable = self.environments.get(kind, ())
        kinds = sorted(other for other, names in self.environments.items() if option in names)
        if kinds:
            return WrongKindError(option, kind, tuple(kinds), tuple(sorted(usable)))
        everywhere = {name for names in self.environments.values() for name in names}
        candidates = ({*usable, *self.host, *self.gateway}, {*everywhere, *SPELLINGS, "kind"})
        return UnknownOptionError(option, nearest_name(option, candidates))


def nearest_name(option: str, candidates: Iterable[Iterable[str]]) -> str | None:
    """
    Return the name most like *option* from the first of *candidates* that has one.

    One that differs by a letter or two comes before a name that is less like it.
    """
    from difflib import get_close_matches

    groups = [set(names) for names in candidates]
    meant = _MEANT.get(option)
    for names in groups:
        if meant in names:
            return meant
    for likeness in (0.8, 0.6):
        for names in groups:
            for near in get_close_matches(option, sorted(names), n=1, cutoff=likeness):
                return near
    return None
