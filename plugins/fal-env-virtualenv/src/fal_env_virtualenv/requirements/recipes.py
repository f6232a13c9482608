"""
Recipes: what a declaration says about the environment that is built for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from fal_core.reprs import show_fields
from fal_env_virtualenv.requirements.entries import Requirement, parse_entry
from fal_env_virtualenv.requirements.layers import Layers

#: The kind of environment, as errors name it.
KIND = "virtualenv"


@attrs.frozen(kw_only=True)
class Recipe:
    """
    The options that tell one environment from another.

    Attributes:
        layers: Requirement entries, with absolute paths.

        python_version: As in ``3.11``. None for the version of the launching Python.

        constraints_file: An absolute path, if there is one.

        tags: Words that keep this environment apart from otherwise equal ones.
    """

    __repr__ = show_fields

    layers: Layers = ()
    python_version: str | None = None
    constraints_file: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    compile_bytecode: bool = False
    tags: tuple[str, ...] = ()

    def requirements(self) -> Iterator[Requirement]:
        """
        Yield the parsed entries of all layers.
        """
        return (entry for layer in self.parsed_layers() for entry in layer)

    def parsed_layers(self) -> Iterator[list[Requirement]]:
        """
        Yield the parsed entries of each layer.
        """
        return ([parse_entry(entry) for entry in layer] for layer in self.layers)
