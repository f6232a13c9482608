"""
Locks: what an environment has in it, written so that it can be built the same elsewhere.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any
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
from fal_env_conda.building.recipes import Recipe, is_offline
from fal_env_conda.building.solutions import Solution, read_solution
from fal_env_conda.rattling.processes import Rattler, RattlerError

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


def lock(recipe: Recipe, sink: LogSink, cancelled: Event) -> Locked:
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
    files = [attrs.asdict(each) for each in solution.wheels]
    files += _files(built.pins, prefix, solution, recipe.definition.indexes)
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


def _files(
    pins: Sequence[str], prefix: str, solution: Solution, indexes: Sequence[str]
) -> Iterator[dict[str, str]]:
    """
    Yield where the file of each pip requirement is, and its digest.
    """
    from fal_uv.installing.pins import is_version

    plain = [pin.partition(" --hash=")[0].strip() for pin in pins]
    of_index = [pin for pin in plain if is_version(pin)]
    found = _ask_index(of_index, prefix, indexes) if of_index else {}
    for pin in plain:
        if is_version(pin):
            name, _, version = pin.partition("==")
            package = found.get(_canonical(name))
            chosen = None if package is None else _choose(package, prefix, solution)
            if chosen is None:
                raise EnvironmentBuildError(
                    KIND, f"No index says where the file of {pin} is.", pin
                )
            yield {"name": name, "version": version, **chosen}
            continue
        name, _, location = pin.removeprefix("-e ").partition(" @ ")
        location, _, digest = location.partition("#sha256=")
        installed = _version_of(name, prefix, solution)
        yield {"name": name, "version": installed, "location": location, "sha256": digest}


def _canonical(name: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(name.partition("[")[0])


def _version_of(name: str, prefix: str, solution: Solution) -> str:
    wanted = f"{_canonical(name).replace('-', '_')}-"
    for each in os.listdir(library_of(prefix, solution.python_version or "")):
        told = each.lower().replace("-", "_", each.count("-") - 1)
        if each.endswith(".dist-info") and told.startswith(wanted):
            return each.removesuffix(".dist-info").rpartition("-")[2]
    return "0"


def _ask_index(pins: Sequence[str], prefix: str, indexes: Sequence[str]) -> dict[str, Any]:
    """
    Return what the indexes say of *pins*, by their names.
    """
    from fal_uv.installing.indexes import find_indexes
    from fal_uv.running.uv import ask, uv_command

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pins.txt")
        with open(path, "w", encoding="utf-8") as stream:
            stream.writelines(f"{pin}\n" for pin in pins)
        target = os.path.join(folder, "pylock.toml")
        where = find_indexes(indexes, offline=is_offline())
        code, output = ask(
            [
                *uv_command(),
                *("pip", "compile", "--quiet", "--no-deps", "--format", "pylock.toml"),
                *where.options,
                *("--python", executable_of(prefix), "--output-file", target, path),
            ],
            errors=True,
            variables=where.variables,
            directory=folder,
        )
        if code != 0:
            raise EnvironmentBuildError(
                KIND, f"uv could not lock the pip requirements: {output}"
            )
        with open(target, "rb") as stream:
            loaded = tomllib.load(stream)
    return {_canonical(each["name"]): each for each in loaded["packages"]}


def _choose(package: dict[str, Any], prefix: str, solution: Solution) -> dict[str, str] | None:
    """
    Return the file of *package* that is installed in *prefix*.
    """
    from packaging.utils import parse_wheel_filename

    tags = _installed_tags(package, prefix, solution)
    for wheel in package.get("wheels", ()):
        location = _location(wheel)
        name = location.partition("#")[0].rpartition("/")[2]
        if tags & {str(tag) for tag in parse_wheel_filename(name)[3]}:
            return {"location": location, "sha256": wheel.get("hashes", {}).get("sha256", "")}
    source = package.get("sdist")
    if source is None:
        return None
    hashes = source.get("hashes", {})
    return {"location": _location(source), "sha256": hashes.get("sha256", "")}


def _location(file: dict[str, Any]) -> str:
    if "url" in file:
        return str(file["url"])
    return f"file://{pathname2url(os.path.abspath(file['path']))}"


def _installed_tags(package: dict[str, Any], prefix: str, solution: Solution) -> set[str]:
    library = library_of(prefix, solution.python_version or "")
    name = _canonical(package["name"]).replace("-", "_")
    for each in os.listdir(library):
        found = each.removesuffix(".dist-info").rpartition("-")[0]
        if each.endswith(".dist-info") and _canonical(found).replace("-", "_") == name:
            with open(os.path.join(library, each, "WHEEL"), encoding="utf-8") as stream:
                return set(re.findall(r"^Tag: (\S+)", stream.read(), re.MULTILINE))
    return set()
