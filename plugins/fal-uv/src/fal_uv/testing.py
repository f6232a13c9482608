"""
For tests of kinds of environments: their builds, wheels, and projects that need no index to
be built.
"""

from __future__ import annotations

import base64
import hashlib
import textwrap
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event

import attrs

from fal_core.environments import Environment, LocalInterpreter
from fal_core.events import Log

_BACKEND = """
    import pathlib, zipfile

    NAME, VERSION, REQUIRES = {name!r}, {version!r}, {requires!r}

    def wheel(directory, files):
        described = f"{{NAME}}-{{VERSION}}.dist-info"
        lines = ["Metadata-Version: 2.1", f"Name: {{NAME}}", f"Version: {{VERSION}}"]
        lines += [f"Requires-Dist: {{line}}" for line in REQUIRES]
        files[f"{{described}}/METADATA"] = "\\n".join(lines) + "\\n"
        files[f"{{described}}/WHEEL"] = (
            "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\n"
            "Tag: py3-none-any\\n"
        )
        record = f"{{described}}/RECORD"
        files[record] = "".join(f"{{place}},,\\n" for place in [*files, record])
        name = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
        with zipfile.ZipFile(pathlib.Path(directory, name), "w") as archive:
            for place, text in files.items():
                archive.writestr(place, text)
        return name

    def build_wheel(directory, settings=None, metadata=None):
        text = pathlib.Path("src", NAME, "__init__.py").read_text()
        return wheel(directory, {{f"{{NAME}}/__init__.py": text}})

    def build_editable(directory, settings=None, metadata=None):
        return wheel(directory, {{f"{{NAME}}.pth": str(pathlib.Path("src").resolve()) + "\\n"}})
"""


@attrs.frozen
class Project:
    """
    A local project with one package in ``src``, and its own build backend.

    Attributes:
        name: Of the project and of its package.
    """

    path: Path
    name: str

    def write(self, text: str) -> None:
        """Have the package's ``__init__.py`` say *text*."""
        (self.path / "src" / self.name / "__init__.py").write_text(text)


def write_project(path: Path, *, requires: Sequence[str] = ()) -> Project:
    """
    Write a project to the directory *path*, whose name is the project's.

    Its version is 1.5, and its package has a ``value``, which is 1.
    """
    name = path.name
    (path / "src" / name).mkdir(parents=True)
    backend = textwrap.dedent(_BACKEND)
    backend = backend.format(name=name, version="1.5", requires=list(requires))
    (path / "backend.py").write_text(backend)
    (path / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "1.5"\ndependencies = {list(requires)!r}\n'
    )
    made = Project(path, name)
    made.write("value = 1\n")
    return made


def write_wheel(
    directory: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    scripts: Mapping[str, str] = {},
    data: bytes = b"",
    tag: str = "py3-none-any",
) -> Path:
    """
    Write a wheel with one module that knows its *version* and *tag*; return its path.

    Arguments:
        requires: Requirements of the package.

        scripts: Entry points of programs by their names.

        data: The content of a file beside the module.
    """
    module = name.replace("-", "_")
    described = f"{module}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    contents: dict[str, str | bytes] = {
        f"{module}/__init__.py": f"version, tag = {version!r}, {tag!r}\n"
        f"def main(): print({name!r}, version)\n",
        f"{module}/data.bin": data,
        f"{described}/METADATA": "\n".join(
            [*metadata, *(f"Requires-Dist: {line}" for line in requires), ""]
        ),
        f"{described}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\n"
        f"Root-Is-Purelib: true\nTag: {tag}\n",
        f"{described}/entry_points.txt": "[console_scripts]\n"
        + "".join(f"{script} = {target}\n" for script, target in scripts.items()),
    }
    path = directory / f"{module}-{version}-{tag}.whl"
    lines = []
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in contents.items():
            raw = text if isinstance(text, bytes) else text.encode()
            digest = base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=")
            lines.append(f"{place},sha256={digest.decode()},{len(raw)}")
            archive.writestr(place, raw)
        archive.writestr(
            f"{described}/RECORD", "\n".join([*lines, f"{described}/RECORD,,", ""])
        )
    return path


@attrs.define
class Builder:
    """Builds environments of this machine, and keeps the log lines of the last build."""

    logs: list[Log] = attrs.field(factory=list)

    def __call__(self, environment: Environment) -> LocalInterpreter:
        """Build *environment*, or find it built."""
        self.logs.clear()
        interpreter = environment.build(self.logs.append, Event())
        assert isinstance(interpreter, LocalInterpreter)
        return interpreter

    @property
    def messages(self) -> list[str]:
        """What was said during the last build."""
        return [line.message for line in self.logs]
