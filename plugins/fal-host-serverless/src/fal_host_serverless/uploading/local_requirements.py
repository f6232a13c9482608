"""Requirements that name projects or lists of this machine, and what replaces them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fal_core.declaring import inline_metadata
from fal_core.errors import EnvironmentBuildError, OptionError
from fal_host_serverless.account.toml_files import TomlError, parse_toml, read_toml

#: How files end that list requirements.
_LISTS = (".txt", ".in", ".toml", ".py", ".cfg")
_EXTRAS = re.compile(r"^(?P<path>[^\[]+)(?P<extras>\[[^\]]+\])?$")


def project_of(entry: str, base: Path) -> tuple[Path, str] | None:
    """Return the folder and the extras of a requirement that is a local project, else None."""
    matched = _EXTRAS.match(entry.removeprefix("-e ").strip())
    if matched is None:
        return None
    written = matched["path"].strip()
    path = (base / Path(written).expanduser()).resolve()
    if not path.is_dir():
        return None
    # A package may be called like a directory that is no project.
    is_path = entry.startswith(("-e ", ".", "~")) or "/" in written
    if not is_path and not (path / "pyproject.toml").is_file():
        return None
    return path, matched["extras"] or ""


def listing_of(entry: str, base: Path) -> Path | None:
    """Return the file of a requirement that is a list of requirements, else None."""
    path = (base / Path(entry.removeprefix("-r ").strip()).expanduser()).resolve()
    return path if path.suffix in _LISTS and path.is_file() else None


def has_local(requirements: Any, base: Path) -> bool:
    """Return whether *requirements*, which may be layers, name projects or lists of this machine."""
    return any(
        has_local(entry, base)
        if not isinstance(entry, str)
        else bool(project_of(entry, base) or listing_of(entry, base))
        for entry in requirements
    )


def local_projects(requirements: Sequence[Any], base: Path) -> list[Path]:
    """
    Return the folders of the projects that *requirements* name, each once.

    Raises:
        OptionError: A folder is no project.
    """
    found: dict[Path, None] = {}

    def note(folder: Path) -> str:
        found[folder] = None
        return ""

    replace_local(requirements, base, note)
    return list(found)


def replace_local(requirements: Sequence[Any], base: Path, place: Callable[[Path], str]) -> Any:
    """
    Return *requirements* with URLs for local projects, and lists replaced by their entries.

    Arguments:
        place: Returns the URL at which the service finds the project in a folder.

    Raises:
        OptionError: A folder is no project.

        EnvironmentBuildError: A project cannot be built.
    """
    replaced: list[Any] = []
    for entry in requirements:
        if not isinstance(entry, str):
            replaced.append(replace_local(entry, base, place))
            continue
        listing, project = listing_of(entry, base), project_of(entry, base)
        if listing is not None:
            replaced += replace_local([*read_listing(listing)], listing.parent, place)
        elif project is not None:
            folder, extras = project
            replaced.append(f"{name_of(folder)}{extras} @ {place(folder)}")
        else:
            replaced.append(entry)
    return replaced


def read_listing(path: Path) -> Iterator[str]:
    """
    Yield the requirements of a list: one per line, or those of a ``pyproject.toml`` or of
    the inline metadata of a program.

    Raises:
        OptionError: The file is not valid TOML, is a program that says nothing, or says what
            the service does not follow.
    """
    if re.fullmatch(r"pylock(\.[^.]+)?\.toml", path.name):
        raise OptionError(
            f"Requirement {path.name!r} is a lock, which the service does not follow. List "
            "what it has, with versions."
        )
    if path.suffix in (".toml", ".py"):
        try:
            if path.suffix == ".toml":
                whole = read_toml(path)
                if whole.get("tool", {}).get("uv", {}).get("sources"):
                    raise OptionError(
                        f"Requirement {path.name!r} has tool.uv.sources, which the service "
                        "does not follow. Leave them out, or list what it requires."
                    )
                written = whole.get("project", {})
            else:
                written = parse_toml(_metadata_of(path))
                if "uv" in written.get("tool", {}):
                    raise OptionError(
                        f"Requirement {path.name!r} has settings of uv, which the service "
                        "does not follow. Leave them out, or list what it requires."
                    )
        except TomlError as error:
            raise OptionError(f"Requirements cannot be read from {path}: {error}.") from error
        yield from written.get("dependencies", ())
        return
    if path.suffix == ".cfg":
        raise OptionError(
            f"What {path.name!r} requires is known only once its project is built, which is "
            f"not done here. Name the project {path.parent} instead, or list its requirements."
        )
    for line in path.read_text("utf-8").splitlines():
        entry = re.sub(r"(^|\s)#.*", "", line).strip()
        if entry:
            yield entry


def _metadata_of(path: Path) -> str:
    text = inline_metadata(str(path))
    if text is None:
        raise OptionError(
            f"Requirement {path.name!r} is a program that does not say what it requires. Add "
            "a block '# /// script' with its dependencies to it, or list them."
        )
    return text


def name_of(folder: Path) -> str:
    """
    Return the name of the project in *folder*.

    Raises:
        OptionError: The folder is no project, or the project has no name.
    """
    try:
        name = read_toml(folder / "pyproject.toml")["project"]["name"]
    except (OSError, KeyError, TomlError) as error:
        raise OptionError(
            f"Requirement {str(folder)!r} is no project: its pyproject.toml has no "
            "[project] with a name."
        ) from error
    return str(name)


@contextmanager
def build_source(folder: Path) -> Iterator[Path]:
    """
    Build the source distribution of a project; it is deleted at the end of the context.

    Raises:
        EnvironmentBuildError: The build failed.
    """
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    command = [uv, "build"] if uv else [sys.executable, "-m", "build"]
    with tempfile.TemporaryDirectory(prefix="fal-core-") as target:
        where = "--out-dir" if uv else "--outdir"
        done = subprocess.run(
            [*command, "--sdist", where, target, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        archives = [*Path(target).glob("*.tar.gz")]
        if done.returncode or len(archives) != 1:
            lines = tuple(done.stdout.splitlines()[-10:])
            raise EnvironmentBuildError(
                "remote", "its source distribution could not be built.", str(folder), lines
            )
        yield archives[0]
