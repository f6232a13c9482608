"""
Channels for tests: conda packages made of installed Pythons and of wheels.

They need no network, and no conda: a channel is a folder that rattler indexes.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from fal_core.environments import THIS_PYTHON, is_within
from fal_env_conda.rattling.platforms import subdir
from fal_env_conda.rattling.processes import Rattler
from fal_uv.installing.interpreters import managed_pythons

#: What a program has to have beside its own modules to start.
_LEFT_OUT = {
    "__pycache__",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tests",
    "tkinter",
    "turtledemo",
}

_ASK = (
    "import json, os, sys, sysconfig; print(json.dumps({"
    "'version': '%d.%d.%d' % sys.version_info[:3],"
    "'program': os.path.realpath(sys.executable),"
    "'library': sysconfig.get_path('stdlib'),"
    "'is_changed': 'deb_system' in sysconfig.get_scheme_names()}))"
)


@attrs.frozen(kw_only=True)
class CondaPackage:
    """
    One conda package, before it is written.

    Attributes:
        files: What each file has in it, by its path in the prefix.

        links: Where each symbolic link leads, by its path in the prefix.

        programs: The paths that may be executed.

        entry_points: Programs of a package for any Python, as in ``tool = tool:main``.

        placeholder: A path that files have in place of that of the prefix they will be in.
    """

    name: str
    version: str
    build: str = "0"
    subdir: str = "noarch"
    depends: Sequence[str] = ()
    constrains: Sequence[str] = ()
    files: Mapping[str, bytes] = attrs.field(factory=dict, repr=False)
    links: Mapping[str, str] = attrs.field(factory=dict)
    programs: Sequence[str] = ()
    entry_points: Sequence[str] = ()
    any_python: bool = False
    placeholder: str = ""

    @property
    def file_name(self) -> str:
        """The name of its archive."""
        return f"{self.name}-{self.version}-{self.build}.tar.bz2"

    def write(self, channel: Path) -> Path:
        """Write the archive below *channel*, and return its path."""
        described = self._described()
        folder = channel / self.subdir
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / self.file_name
        with (
            bz2.open(target, "wb", compresslevel=1) as compressed,
            tarfile.open(fileobj=compressed, mode="w|") as archive,
        ):
            for path, content in {**described, **self.files}.items():
                member = tarfile.TarInfo(path)
                member.size = len(content)
                member.mode = 0o755 if path in self.programs else 0o644
                archive.addfile(member, io.BytesIO(content))
            for path, leads in self.links.items():
                member = tarfile.TarInfo(path)
                member.type = tarfile.SYMTYPE
                member.linkname = leads
                archive.addfile(member)
        return target

    def _described(self) -> dict[str, bytes]:
        """Return the files that describe the package, by their paths in the archive."""
        index: dict[str, object] = {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": 0,
            "subdir": self.subdir,
            "depends": list(self.depends),
            "constrains": list(self.constrains),
        }
        if self.subdir != "noarch":
            platform, _, arch = self.subdir.partition("-")
            index |= {"platform": platform, "arch": {"64": "x86_64"}.get(arch, arch)}
        elif self.any_python:
            index["noarch"] = "python"
        else:
            index["noarch"] = "generic"
        paths: list[dict[str, object]] = [
            {
                "_path": path,
                "path_type": "hardlink",
                "sha256": hashlib.sha256(content).hexdigest(),
                "size_in_bytes": len(content),
                **self._replaced(content),
            }
            for path, content in self.files.items()
        ]
        empty = hashlib.sha256(b"").hexdigest()
        paths += [
            {"_path": path, "path_type": "softlink", "sha256": empty, "size_in_bytes": 0}
            for path in self.links
        ]
        described: dict[str, bytes] = {
            "info/index.json": json.dumps(index).encode(),
            "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}).encode(),
            "info/files": "".join(f"{path}\n" for path in self.files).encode(),
            "info/about.json": b"{}",
        }
        if self.any_python:
            link = {"noarch": {"type": "python", "entry_points": list(self.entry_points)}}
            link_json = {**link, "package_metadata_version": 1}
            described["info/link.json"] = json.dumps(link_json).encode()
        return described

    def _replaced(self, content: bytes) -> dict[str, object]:
        """Return what is said of a file that has the placeholder."""
        if not self.placeholder or self.placeholder.encode() not in content:
            return {}
        mode = "binary" if b"\0" in content else "text"
        return {"prefix_placeholder": self.placeholder, "file_mode": mode}


def package_python(program: str | None = None) -> CondaPackage:
    """
    Return the package ``python`` with the standard library of an installed Python, whose
    shared libraries are used where they are.

    Arguments:
        program: The Python. By default the running one, or another of its minor version
            that a version manager has.

    Raises:
        LookupError: It is one that its system changed to install elsewhere than in its own
            prefix, as Debian's does.
    """
    if program is None:
        programs = [
            path
            for version, path in managed_pythons()
            if is_within(version, THIS_PYTHON) and not version.endswith("t")
        ]
        for each in (sys.executable, *programs):
            with suppress(LookupError):
                return package_python(each)
        raise LookupError(
            f"There is no Python {THIS_PYTHON} of which a conda package can be made."
        )
    answer = subprocess.run(
        [program, "-I", "-S", "-c", _ASK], capture_output=True, text=True, check=True
    )
    told = json.loads(answer.stdout)
    if told["is_changed"]:
        raise LookupError(f"{program} is changed by its system, and no package is made of it.")
    version: str = told["version"]
    minor = ".".join(version.split(".")[:2])
    files = {
        f"bin/python{minor}": Path(told["program"]).read_bytes(),
        **_library(Path(told["library"]), f"lib/python{minor}"),
    }
    files[f"lib/python{minor}/site-packages/README.txt"] = b"Packages are installed here.\n"
    return CondaPackage(
        name="python",
        version=version,
        build=f"0_cp{minor.replace('.', '')}",
        subdir=subdir(),
        files=files,
        links={"bin/python": f"python{minor}", "bin/python3": f"python{minor}"},
        programs=(f"bin/python{minor}",),
    )


def _library(library: Path, place: str) -> dict[str, bytes]:
    """Return the files of a standard library by their paths below *place*."""
    files = {}
    for folder, names, found in os.walk(library):
        names[:] = [
            name for name in names if name not in _LEFT_OUT and not name.startswith("config-")
        ]
        for name in found:
            path = Path(folder, name)
            if path.suffix not in (".a", ".pyc") and not path.is_symlink():
                files[f"{place}/{path.relative_to(library).as_posix()}"] = path.read_bytes()
    return files


def package_wheel(
    wheel: str | os.PathLike[str], *, name: str | None = None, depends: Iterable[str] = ()
) -> CondaPackage:
    """
    Return a package for any Python with the modules of a *wheel* that is all Python.

    Arguments:
        name: Another name than the wheel's, as conda-forge has for some.

        depends: What it needs beside Python.
    """
    path = Path(wheel)
    distribution, version = path.name.split("-")[:2]
    with zipfile.ZipFile(path) as archive:
        files = {
            f"site-packages/{entry.filename}": archive.read(entry)
            for entry in archive.infolist()
            if not entry.is_dir()
        }
    told = f"site-packages/{distribution}-{version}.dist-info"
    files[f"{told}/INSTALLER"] = b"conda\n"
    text = files.get(f"{told}/entry_points.txt", b"").decode()
    _, _, section = text.partition("[console_scripts]\n")
    lines = section.partition("\n[")[0].splitlines()
    return CondaPackage(
        name=name or distribution.replace("_", "-").lower(),
        version=version,
        build="py_0",
        depends=("python >=3.10", *depends),
        files=files,
        entry_points=tuple(line for line in lines if "=" in line),
        any_python=True,
    )


def make_channel(folder: str | os.PathLike[str], packages: Iterable[CondaPackage]) -> str:
    """Write *packages* to a channel in *folder*, index it, and return its URL."""
    channel = Path(folder).absolute()
    for name in ("noarch", subdir()):
        (channel / name).mkdir(parents=True, exist_ok=True)
    for package in packages:
        package.write(channel)
    with Rattler() as rattler:
        rattler.ask("index", channel=os.fspath(channel))
    return channel.as_uri()


def make_wheel_channel(
    folder: str | os.PathLike[str], wheels: Iterable[str | os.PathLike[str]]
) -> str:
    """
    Write *wheels*, which are all Python, to a channel that has nothing else in *folder*, and
    return its URL.
    """
    channel = Path(folder).absolute()
    place = channel / "noarch"
    place.mkdir(parents=True, exist_ok=True)
    listed = {}
    for wheel in map(Path, wheels):
        shutil.copy(wheel, place)
        record = _wheel_record(wheel)
        listed[f"{record['name']}-{record['version']}-{record['build']}"] = record
    index = {
        "info": {"subdir": "noarch"},
        "packages": {},
        "packages.conda": {},
        "repodata_version": 1,
        "v3": {"whl": listed},
    }
    (place / "repodata.json").write_text(json.dumps(index), "utf-8")
    return channel.as_uri()


def _wheel_record(wheel: Path) -> dict[str, object]:
    """Return what the index of a channel says of a *wheel*."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    name, version = wheel.name.split("-")[:2]
    with zipfile.ZipFile(wheel) as archive:
        described = archive.read(f"{name}-{version}.dist-info/METADATA").decode()
    lines = (line.partition(":") for line in described.splitlines())
    needs = [Requirement(rest) for key, _, rest in lines if key == "Requires-Dist"]
    content = wheel.read_bytes()
    return {
        "name": canonicalize_name(name),
        "version": version,
        "build": "py3_none_any_0",
        "build_number": 0,
        "depends": [
            "python >=3.10",
            *(f"{each.name} {each.specifier}".strip() for each in needs),
        ],
        "noarch": "python",
        "subdir": "noarch",
        "url": wheel.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }
