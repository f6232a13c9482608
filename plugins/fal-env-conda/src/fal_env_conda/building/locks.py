"""Locks: what an environment has in it, written so that it can be built the same elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import pathname2url

import attrs

from fal_core.errors import EnvironmentBuildError
from fal_core.events import LogSink
from fal_env_conda.building.build_errors import error_of_rattler
from fal_env_conda.building.builds import build
from fal_env_conda.building.prefixes import (
    KIND,
    PREFIXES,
    executable_of,
    library_of,
)
from fal_env_conda.building.recipes import CondaRecipe, is_offline
from fal_env_conda.building.solutions import Solution, read_solution
from fal_env_conda.declaring.definitions import Definition
from fal_env_conda.rattling.processes import Rattler, RattlerError
from fal_uv.installing.pins import DIST_INFO, is_version
from fal_uv.requirements import url_credentials

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@attrs.frozen(kw_only=True)
class Locked:
    """
    An environment as files say it.

    Attributes:
        lock: The text of a lock in rattler's format.

        explicit: The text of an explicit list, as conda writes it. It has conda's packages
            alone.
    """

    lock: str
    explicit: str


def lock(recipe: CondaRecipe, sink: LogSink, cancelled: Event) -> Locked:
    """
    Build *recipe* unless it is built, and return what is in it.

    Raises:
        EnvironmentBuildError: It cannot be built, or an index does not say where a file is.

        Cancelled: *cancelled* was set.
    """
    build(recipe, sink, cancelled)
    solution = read_solution(recipe.question)
    built = None if solution is None else PREFIXES.read_build(recipe.prefix_name(solution))
    if solution is None or built is None:
        raise EnvironmentBuildError(
            KIND, "It was removed as soon as it was built. Another program cleans the cache."
        )
    prefix = PREFIXES.path(recipe.prefix_name(solution))
    installed = _Installed(
        executable=executable_of(prefix),
        library=library_of(prefix, solution.python_version or ""),
    )
    files = [attrs.asdict(each) for each in solution.wheels]
    files += _files(built.pins, installed, recipe.definition)
    with Rattler(cancelled) as rattler:
        try:
            text: str = rattler.ask(
                "write_lock",
                records=solution.archives,
                channels=solution.channels,
                platform=solution.platform,
                virtual_packages=solution.virtual_packages,
                files=files,
            )
        except RattlerError as error:
            raise error_of_rattler(error.message, (), ()) from error
    return Locked(lock=_with_hashes(text, files), explicit=_explicit(solution))


def _explicit(solution: Solution) -> str:
    # The form that conda reads in all versions.
    urls = (f"{each['url']}#{each['record'].get('md5') or ''}" for each in solution.archives)
    lines = [
        f"# platform: {solution.platform}",
        "@EXPLICIT",
        *(url.rstrip("#") for url in urls),
    ]
    return "".join(f"{line}\n" for line in lines)


def _with_hashes(text: str, files: Sequence[dict[str, str]]) -> str:
    """
    Return *text* of a lock with the digests of files of pip requirements, which rattler
    leaves out.
    """
    for each in files:
        if each["sha256"]:
            entry = rf"^(- pypi: {re.escape(each['location'])}\n)(  name:)"
            digest = f"  sha256: {each['sha256']}\n"
            text = re.sub(entry, rf"\g<1>{digest}\g<2>", text, flags=re.MULTILINE)
    return text


@attrs.frozen(kw_only=True)
class _Installed:
    """The packages that the Python *executable* finds in *library*."""

    executable: str
    library: str

    def find(self, name: str) -> str:
        """
        Return the directory that describes the package *name*.

        Raises:
            EnvironmentBuildError: There is none.
        """
        for each in self._described():
            if _canonical(each.removesuffix(DIST_INFO).partition("-")[0]) == _canonical(name):
                return os.path.join(self.library, each)
        raise EnvironmentBuildError(KIND, f"Package {name} is gone from {self.library}.", name)

    def name_at(self, url: str) -> str:
        """Return the name of the package that was installed from *url* to be edited."""
        for each in self._described():
            try:
                with open(
                    os.path.join(self.library, each, "direct_url.json"), encoding="utf-8"
                ) as stream:
                    origin = json.load(stream)
            except (OSError, ValueError):
                continue
            if origin.get("url") == url:
                return each.partition("-")[0].replace("_", "-")
        raise EnvironmentBuildError(KIND, f"What was installed from {url} is gone.", url)

    def version(self, name: str) -> str:
        """Return the version of the package *name*."""
        described = os.path.basename(self.find(name)).removesuffix(DIST_INFO)
        return described.partition("-")[2]

    def tags(self, name: str) -> set[str]:
        """Return the tags of the wheel that the package *name* was installed from."""
        with open(os.path.join(self.find(name), "WHEEL"), encoding="utf-8") as stream:
            return set(re.findall(r"^Tag: (\S+)", stream.read(), re.MULTILINE))

    def _described(self) -> Iterator[str]:
        return (each for each in os.listdir(self.library) if each.endswith(DIST_INFO))


def _files(
    pins: Sequence[str], installed: _Installed, definition: Definition
) -> Iterator[dict[str, str]]:
    """Yield where the file of each pip requirement is, and its digest."""
    plain = [pin.partition(" --hash=")[0].strip() for pin in pins]
    of_index = [pin for pin in plain if is_version(pin)]
    found = _ask_index(of_index, installed, definition) if of_index else {}
    for pin, text in zip(pins, plain, strict=True):
        if is_version(text):
            name, _, version = text.partition("==")
            package = found.get(_canonical(name))
            chosen = None if package is None else _choose(package, installed)
            if chosen is None:
                raise EnvironmentBuildError(
                    KIND, f"No index says where the file of {text} is.", text
                )
            yield {"name": name, "version": version, **chosen}
            continue
        if text.startswith("-e "):
            location = text.removeprefix("-e ")
            name = installed.name_at(location)
        else:
            name, _, location = text.partition(" @ ")
        location, _, digest = location.partition("#sha256=")
        known = re.search(r"--hash=sha256:(\w+)", pin)
        yield {
            "name": name,
            "version": installed.version(name),
            "location": location,
            "sha256": digest or (known[1] if known else _digest_of(location)),
        }


def _digest_of(location: str) -> str:
    """Return the SHA-256 of a file of this machine; empty for anything else."""
    path = unquote(urlsplit(location).path)
    if not location.startswith("file://") or not os.path.isfile(path):
        return ""
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _canonical(name: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(name.partition("[")[0])


def _ask_index(
    pins: Sequence[str], installed: _Installed, definition: Definition
) -> dict[str, Any]:
    """Return what the indexes say of *pins*, by their names."""
    from fal_uv.running.uv import ask, uv_command

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pins.txt")
        with open(path, "w", encoding="utf-8") as stream:
            stream.writelines(f"{pin}\n" for pin in pins)
        target = os.path.join(folder, "pylock.toml")
        where = definition.find_indexes(offline=is_offline())
        code, output = ask(
            [
                *uv_command(),
                *("pip", "compile", "--quiet", "--no-deps", "--format", "pylock.toml"),
                *where.options,
                *where.choices,
                *("--python", installed.executable, "--output-file", target, path),
            ],
            errors=True,
            variables=where.variables,
            directory=folder,
        )
        if code != 0:
            raise EnvironmentBuildError(
                KIND, f"uv could not lock the pip requirements: {url_credentials.mask(output)}"
            )
        with open(target, "rb") as stream:
            loaded = tomllib.load(stream)
    return {_canonical(each["name"]): each for each in loaded["packages"]}


def _choose(package: dict[str, Any], installed: _Installed) -> dict[str, str] | None:
    """Return the file of *package* that is *installed*."""
    from packaging.utils import parse_wheel_filename

    tags = installed.tags(package["name"])
    for wheel in package.get("wheels", ()):
        location = _location(wheel)
        name = unquote(location.partition("#")[0].rpartition("/")[2])
        if tags & {str(tag) for tag in parse_wheel_filename(name)[3]}:
            return {"location": location, "sha256": wheel.get("hashes", {}).get("sha256", "")}
    source = package.get("sdist")
    if source is None:
        return None
    hashes = source.get("hashes", {})
    return {"location": _location(source), "sha256": hashes.get("sha256", "")}


def _location(file: dict[str, Any]) -> str:
    if "url" in file:
        return url_credentials.strip(file["url"])
    return f"file://{pathname2url(os.path.abspath(file['path']))}"
