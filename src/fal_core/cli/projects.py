"""
Projects: the files of a new plugin.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from string import Template

import attrs
import click

from fal_core.hooks import API_VERSION

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SUFFIX = ".template"
_TEMPLATES = Path(__file__).with_name("templates")
_PREFIXES = {"host": "fal-host-", "environment": "fal-env-"}


@attrs.frozen
class Project:
    """
    The project of a plugin.

    Attributes:
        name: The name of the host, or the kind of environment, as users write it.
    """

    name: str
    role: str

    @classmethod
    def named(cls, name: str, role: str) -> Project:
        """
        Return the project of a plugin; *name* may be the name of its distribution.

        Raises:
            ValueError: *name* cannot be the name of a plugin.
        """
        short = name.removeprefix(_PREFIXES[role])
        if not _NAME.fullmatch(short) or keyword.iskeyword(short):
            raise ValueError(
                f"{name!r} cannot be the name of a plugin. A name begins with a small "
                "letter, continues with small letters, digits and single hyphens, as in "
                "'slurm' or 'deep-blue', and is not a keyword of Python."
            )
        return cls(short, role)

    @property
    def distribution(self) -> str:
        """
        The name of its distribution.
        """
        return _PREFIXES[self.role] + self.name

    def refuse_taken(self) -> None:
        """
        Check that no installed plugin or distribution has its name.

        Raises:
            ValueError: One has.
        """
        from importlib.metadata import PackageNotFoundError, distribution

        from fal_core.plugins.installed import describe_plugins

        what = "host" if self.role == "host" else "kind of environment"
        for plugin in describe_plugins():
            if self.name in (plugin.hosts if self.role == "host" else plugin.environments):
                raise ValueError(
                    f"A {what} called {self.name!r} is installed already, "
                    f"by {plugin.entry.distribution or plugin.entry}. Choose another name."
                )
        try:
            distribution(self.distribution)
        except PackageNotFoundError:
            return
        raise ValueError(
            f"A distribution called {self.distribution!r} is installed already. "
            "Choose another name."
        )

    def fill(self, text: str) -> str:
        """
        Return the template *text* with the names of this project filled in.
        """
        return Template(text).substitute(
            name=self.name,
            distribution=self.distribution,
            package=self.distribution.replace("-", "_"),
            module=self.name.replace("-", "_"),
            class_name="".join(part.capitalize() for part in self.name.split("-")),
            api=API_VERSION,
        )


def create(project: Project, folder: Path) -> Iterator[Path]:
    """
    Write the files of *project* to *folder*, and yield the path of each.

    Raises:
        ClickException: *folder* is not empty, or cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            raise click.ClickException(
                f"{folder} is not empty. Name another directory with --path."
            )
        for source in sorted((_TEMPLATES / project.role).rglob(f"*{_SUFFIX}")):
            name = source.relative_to(_TEMPLATES / project.role).as_posix()
            target = folder / project.fill(name.removesuffix(_SUFFIX))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(project.fill(source.read_text(encoding="utf-8")), "utf-8")
            yield target
    except OSError as error:
        raise click.ClickException(
            f"{error.filename or folder} cannot be written: {error.strerror}."
        ) from error
