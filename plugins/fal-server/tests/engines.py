"""A container engine for servers of tests, and an image with the Python of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from polling import settle

#: Where the engine of the tests of containers is.
_TESTS = Path(__file__).resolve().parents[2] / "fal-env-container" / "tests"

#: What wheels of compiled packages expect of any Linux, by the stems of file names.
_COMMON = ("libgcc_s", "librt", "libpthread", "libdl", "libutil", "libstdc++")

#: Stands in for the images of registries, which tests cannot have.
BASE = "docker.io/library/python:3-slim"


@contextmanager
def engine_for_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """
    Open Podman with a store of its own, which has the image `BASE`, for the servers that are
    started meanwhile.

    The test is skipped where there is no engine.
    """
    pytest.importorskip("fal_env_container", reason="fal-env-container is not installed")
    if str(_TESTS) not in sys.path:
        sys.path.append(str(_TESTS))
    from image_roots import shared_folder
    from local_engines import LocalEngine, make_folder, missing

    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    engine = LocalEngine(make_folder("fal-podman-"), shared_folder(tmp_path_factory))
    engine.create()
    cache = str(tmp_path_factory.mktemp("cache"))
    try:
        import_this_python(engine)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**engine.variables, "FAL_CORE_CACHE": cache}.items():
                patch.setenv(name, value)
            yield engine
        settle(lambda: not engine.containers())
    finally:
        engine.remove()


def import_this_python(engine: Any) -> None:
    """Make the image `BASE`, with a shell and the Python that runs the tests."""
    from image_roots import once

    archive = once(engine.archives / "this-python.tar", write_this_python)
    engine.import_archive(BASE, archive)


def write_this_python(archive: Path) -> None:
    """Write an archive of the root of an image with a shell and the Python that runs the tests."""
    from image_roots import write_root

    write_root(archive, ["sh", "cat", "ls", "sleep", "mkdir", "env", "chown", "rm"])
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    program = os.path.realpath(os.path.join(sys.base_prefix, "bin", version))
    library = sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix})
    files = {*_loaded(program), *_common()}
    files.update(_loaded(*map(str, Path(library).rglob("lib-dynload/*.so"))))
    with tarfile.open(archive, "a") as stream:
        present = set(stream.getnames())
        for path in [program, *sorted(files)]:
            place = os.path.realpath(path) if path == program else path
            name = _below_usr(place).lstrip("/")
            if name not in present:
                stream.add(os.path.realpath(path), name)
                present.add(name)
        stream.add(library, library.lstrip("/"), filter=_without_tests)
        link = tarfile.TarInfo("usr/bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, program
        if program != "/usr/bin/python3":
            stream.addfile(link)


def _below_usr(path: str) -> str:
    # The directories of the root are links to those below /usr.
    first = path.lstrip("/").partition("/")[0]
    return f"/usr{path}" if first in ("bin", "sbin", "lib", "lib64") else path


def _loaded(*programs: str) -> list[str]:
    done = subprocess.run(["ldd", *programs], capture_output=True, text=True)
    words = (word for line in done.stdout.splitlines() for word in line.split())
    return [word for word in words if word.startswith("/") and os.path.exists(word)]


def _common() -> list[str]:
    done = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True)
    paths = [
        line.rpartition(" => ")[2] for line in done.stdout.splitlines() if "x86-64" in line
    ]
    stems = tuple(f"{stem}.so" for stem in _COMMON)
    return [path for path in paths if os.path.basename(path).startswith(stems)]


def _without_tests(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = entry.name.split("/")
    left_out = ("test", "tests", "__pycache__", "idlelib", "site-packages", "lib2to3")
    return (
        None if any(part in left_out or part.startswith("config-") for part in parts) else entry
    )
