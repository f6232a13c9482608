"""Recipes: what makes one image differ from another, and the keys made of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import cached_property

import attrs

from fal_core.errors import EnvironmentBuildError
from fal_env_container.engines import KIND
from fal_env_container.images.built_images import BuiltImage
from fal_env_container.images.container_images import ContainerImage
from fal_env_container.images.contexts import Context, Entry, copy_to, digest_of
from fal_env_container.images.ignore_patterns import DEFAULT_PATTERNS, IgnorePatterns
from fal_env_container.images.sources import WHOLE, Sources, find_sources

#: Raised where keys are made otherwise than before.
_FORM = "1"

#: The length of a key, as of the tag of an image.
_LENGTH = 40


@attrs.frozen(slots=False, eq=False)
class ImageRecipe:
    """
    All that the content of an image depends on, but for the images that it stands on.

    Attributes:
        image: What the user declared.

        platform: As in ``linux/amd64``.

        triggers: For names of images that it stands on their ``ONBUILD`` instructions.

        trusted: Whether the author of the declaration may know where the files are.

        tenant: Whose it is, where it is not the user's: what it has been built with, such as
            secrets, is in no digest.
    """

    image: ContainerImage
    platform: str
    triggers: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    trusted: bool = True
    tenant: str = ""

    def on(self, bases: Mapping[str, BuiltImage | None]) -> ImageRecipe:
        """Return this recipe with what *bases*, images by their names, leave to builds on them."""
        found = {name: each.triggers for name, each in bases.items() if each and each.triggers}
        return self if found == self.triggers else attrs.evolve(self, triggers=found)

    @cached_property
    def sources(self) -> Sources:
        """What the Dockerfile reads."""
        return find_sources(
            self.image.dockerfile_str,
            build_args=self.image.build_args,
            platform=self.platform,
            triggers=self.triggers,
        )

    @cached_property
    def context(self) -> Context:
        """The directory that it reads."""
        lines = self.image.ignore_lines()
        if lines is None:
            # Names stand for files in all directories, as they do for the service.
            lines = [f"**/{pattern}" for pattern in DEFAULT_PATTERNS]
        folder = os.path.abspath(os.path.expanduser(self.image.context_dir))
        shown = folder if self.trusted else ""
        return Context(folder, IgnorePatterns.parse(lines), shown=shown)

    @cached_property
    def entries(self) -> list[Entry]:
        """The files that the build sees."""
        return self.context.select(self.sources.paths)

    @cached_property
    def digest(self) -> str:
        """The digest of the Dockerfile, its arguments, the platform and the files."""
        image = self.image
        return _digest(
            _FORM,
            image.dockerfile_str,
            *(f"{name}={value}" for name, value in sorted(image.build_args.items())),
            self.platform,
            digest_of(self.entries) if self.sources.paths else "",
            *((self.tenant,) if self.tenant else ()),
        )

    def key(self, bases: Mapping[str, str]) -> str:
        """Return the key of the image that stands on *bases*, the ids of images by their names."""
        return _digest(
            self.digest, *(f"{name}={bases.get(name, '')}" for name in self.sources.bases)
        )

    @property
    def stamp(self) -> object:
        """What changes with the files, without a look at their content; None if it reads none."""
        if not self.sources.paths:
            return None
        return tuple(entry.stamp for entry in self.context.select(self.sources.paths))

    def copy_to(self, folder: str) -> ImageRecipe:
        """Copy the files to the new directory *folder*, and return the recipe of these copies."""
        copied = attrs.evolve(self)
        copied.__dict__["entries"] = copy_to(folder, self.entries)
        return copied

    def check_sources(self) -> None:
        """
        Refuse a build that would copy what is not there.

        Raises:
            EnvironmentBuildError: A name of ``COPY`` or ``ADD`` leads to nothing.
        """
        for path in self.sources.paths:
            if path in self.sources.triggered:
                continue
            problem = None if path == WHOLE else self.context.explain_missing(path)
            if problem is not None:
                raise EnvironmentBuildError(KIND, f"the Dockerfile copies {path!r}. {problem}")


def _digest(*parts: str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        content = part.encode(errors="surrogateescape")
        whole.update(len(content).to_bytes(8, "big") + content)
    return whole.hexdigest()[:_LENGTH]
