"""Which packages are asked for, and where they come from, for any kind of environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from fal_core.reprs import show_fields
from fal_uv.installing.indexes import Choices, Indexes, find_indexes
from fal_uv.requirements import url_credentials

if TYPE_CHECKING:
    from fal_uv.requirements.entries import Layers, Requirement
    from fal_uv.requirements.settled import Settled


@attrs.frozen(kw_only=True)
class PackageRequest:
    """
    Packages that are asked for.

    Attributes:
        layers: Requirement entries, with absolute paths.

        constraints_file: An absolute path, if there is one.

        find_links: Pages and folders with links to distributions.

        project: What is installed before the first layer.
    """

    __repr__ = show_fields

    layers: Layers = ()
    constraints_file: str | None = None
    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    torch_backend: str | None = None
    exclude_newer: str | None = None
    project: Settled | None = None

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.layers) or self.project is not None

    def requirements(self) -> Iterator[Requirement]:
        """Yield the parsed entries of all layers."""
        return (entry for layer in self.parsed_layers() for entry in layer)

    def parsed_layers(self) -> Iterator[list[Requirement]]:
        """Yield the parsed entries of each layer. The project comes first."""
        if not self:
            return
        from fal_uv.requirements.entries import as_requirement, parse_entry

        if self.project is not None:
            yield [as_requirement(self.project)]
        yield from ([parse_entry(entry) for entry in layer] for layer in self.layers)

    def indexes(self) -> Indexes:
        """Return the indexes that the packages come from."""
        return find_indexes(
            self.extra_index_urls,
            default=self.index_url,
            links=self.find_links,
            choices=Choices(exclude_newer=self.exclude_newer, torch_backend=self.torch_backend),
        )

    def fingerprint(self) -> tuple[object, ...]:
        """
        Return a value that changes with what may be installed: with what is asked for, the
        indexes of this machine, and the contents of local files. It has no credentials.
        """
        return (self.written(), *self.origin())

    def written(self) -> list[list[str]]:
        """Return the entries of each layer, without credentials."""
        return [[url_credentials.strip(entry) for entry in layer] for layer in self.layers]

    def origin(self) -> tuple[object, ...]:
        """Return what :meth:`fingerprint` has beside the entries."""
        project = () if self.project is None else (attrs.astuple(self.project),)
        return (list(self._contents()), self.indexes().fingerprint(), *project)

    def stamp(self) -> int | None:
        """
        Return a value that changes with the local projects and files that are asked for; None
        if there are none.
        """
        named = self._local_requirements()
        if not named and self.constraints_file is None:
            return None
        from fal_core.stores import file_stamps
        from fal_uv.requirements.local_sources import local_requirements, stamps

        files = [] if self.constraints_file is None else [self.constraints_file]
        found = (*stamps(local_requirements(named)), *file_stamps(files))
        return hash(found) if found else None

    def _local_requirements(self) -> list[Requirement]:
        return [entry for entry in self.requirements() if entry.path is not None]

    def _contents(self) -> Iterator[str]:
        named = self._local_requirements()
        if not named and self.constraints_file is None:
            return
        from fal_uv.requirements.local_sources import digest, file_digest, local_requirements

        for requirement in local_requirements(named):
            yield digest(requirement)
        if self.constraints_file is not None:
            yield file_digest(self.constraints_file)
