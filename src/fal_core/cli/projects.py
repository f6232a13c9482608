"""Projects: the files of a new plugin, and ``fal-core new`` for those of functions."""

from __future__ import annotations

import keyword
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Template

import attrs
import click

from fal_core.cli.outputs import print_json
from fal_core.hooks import API_VERSION
from fal_core.sealing.imports import is_installed

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SUFFIX = ".template"
_TEMPLATES = Path(__file__).with_name("templates")
_PREFIXES = {"host": "fal-host-", "environment": "fal-env-"}

#: The templates of ``fal-core new``: what each begins, the extra of fal-core that it needs,
#: and the words after ``fal-core run`` that try it.
_KINDS = {
    "function": ("local", "{module}.py::describe 3000000"),
    "app": ("serve", "{module}.py --port 8000"),
    "pipeline": ("local", "{module}.py::summarise 5"),
}

#: What files of these templates import, and a project of that name would hide from them.
_IMPORTED = ("conftest", "fal_serve", "humanize", "pydantic", "pytest")


@attrs.frozen
class Project:
    """
    A project that is begun: of a plugin, or of functions.

    Attributes:
        name: The name of the host or the kind of environment, as users write it, or that
            of the project.

        role: What its template is called.
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
        """The name of its distribution."""
        return _PREFIXES.get(self.role, "") + self.name

    @property
    def module(self) -> str:
        """The name of its module."""
        return self.name.replace("-", "_")

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
        """Return the template *text* with the names of this project filled in."""
        from importlib.metadata import version

        return Template(text).substitute(
            name=self.name,
            distribution=self.distribution,
            package=self.distribution.replace("-", "_"),
            module=self.module,
            class_name="".join(part.capitalize() for part in self.name.split("-")),
            api=API_VERSION,
            version=version("fal-core"),
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


@click.command()
@click.argument("name")
@click.option(
    "--template",
    type=click.Choice(list(_KINDS)),
    default="function",
    show_default=True,
    help="What to begin with: a function, an application, or functions that follow each other.",
)
@click.option(
    "--path",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to; a new directory here otherwise.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def new(name: str, template: str, path: Path | None, as_json: bool) -> None:
    """
    Create a project that runs and passes its tests at once.

    NAME is what it is called: its directory and its module.

    \b
    Example:
      fal-core new words --template app
    """
    project = Project(name, template)
    is_taken = keyword.iskeyword(name) or project.module in sys.stdlib_module_names
    if is_taken or not _NAME.fullmatch(name):
        raise click.UsageError(
            f"{name!r} cannot be the name of a project. A name begins with a small letter, "
            "continues with small letters, digits and single hyphens, as in 'words' or "
            "'read-words', and is neither a keyword nor a module of Python's own.",
            click.get_current_context(),
        )
    if project.module in _IMPORTED or is_installed(project.module):
        raise click.UsageError(
            f"{name!r} cannot be the name of a project, as its module would stand in the place "
            f"of the package {project.module!r}. Choose another name.",
            click.get_current_context(),
        )
    folder = path or Path(name)
    files = []
    for written in create(project, folder):
        files.append(str(written))
        if not as_json:
            click.echo(f"  {written}")
    if as_json:
        print_json({"name": name, "files": files})
        return
    extra, trial = _KINDS[template]
    click.echo(
        f"Created {name}. Run and test it:\n"
        f"  cd {shlex.quote(str(folder))}\n"
        f"  pip install 'fal-core[{extra},testing]'\n"
        f"  fal-core run {trial.format(module=project.module)}\n"
        "  pytest"
    )
