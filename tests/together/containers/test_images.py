"""What images have and lack: a Python, a shell, and a mark that keeps pip out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from image_roots import find_program, standard_library

from fal_core.errors import EnvironmentBuildError, HostError
from fal_env_container import ContainerImage
from fal_uv.testing import write_wheel

pytestmark = pytest.mark.faults

#: What a Python of another version, and one on musl, know in place of that of the image.
OLD = 'sys.version_info = (3, 9, 2, "final", 0)'
MUSL = "del os.confstr"

STAND_IN = """\
#!/usr/bin/python-of-today -I
import os, sys
{}
sys.executable = "/usr/bin/python3"
exec(sys.argv[sys.argv.index("-c") + 1])
"""


def write_stand_in(root: Path, line: str) -> None:
    """Write a Python to *root* that runs *line* before what it is told to run."""
    programs = root / "usr" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(Path(find_program("python3")).resolve(), programs / "python-of-today")
    (programs / "python3").write_text(STAND_IN.format(line))
    (programs / "python3").chmod(0o755)


@pytest.fixture
def lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The only package that can be installed."""
    write_wheel(tmp_path, "lower", "2.0")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    return "lower"


@pytest.fixture(scope="module")
def old(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image whose Python is 3.9."""
    root = tmp_path_factory.mktemp("old")
    write_stand_in(root, OLD)
    return str(engine.derive("localhost/tests/old:1", engine.import_python(), folder=root))


def test_a_python_that_is_too_old_is_an_error(contained: Any, old: str, lower: str):
    """
    The error names the image, its Python and the oldest that does, with and without
    requirements.
    """
    sentence = (
        r"Image 'localhost/tests/old:1' has Python 3\.9\.2, and a worker needs 3\.10 or newer\."
    )

    @contained(image=old)
    def never() -> None: ...

    with pytest.raises(HostError, match=sentence):
        never()

    @contained(image=old, requirements=[lower])
    def nor_this() -> None: ...

    with pytest.raises(EnvironmentBuildError, match=sentence):
        nor_this()


def test_a_python_of_another_version_is_an_error(contained: Any, engine: Any):
    """An image whose Python is not the one that the function asks for does not run it."""
    image = engine.import_python()

    @contained(image=image, python_version="3.10.0")
    def never() -> None: ...

    sentence = r"has Python 3\.\d+\.\d+, and python_version asks for 3\.10\.0\. Leave"
    with pytest.raises(EnvironmentBuildError, match=sentence):
        never()

    @contained(image=image)
    def version() -> str:
        import sys

        return f"{sys.version_info[0]}.{sys.version_info[1]}"

    found = version()
    assert version.on(python_version=found)() == found


def test_an_image_without_a_python_is_an_error(contained: Any, engine: Any, lower: str):
    """The error names the image and what it lacks, with and without requirements."""

    @contained(image=engine.import_tiny())
    def never() -> None: ...

    with pytest.raises(HostError, match=r"Image '.*tiny.*' has no Python: .* 'python3'"):
        never()

    @contained(image=engine.import_tiny(), requirements=[lower])
    def nor_this() -> None: ...

    with pytest.raises(EnvironmentBuildError, match=r"tiny.* has no Python: .* 'python3'"):
        nor_this()


def test_an_image_needs_no_shell(contained: Any, engine: Any, lower: str):
    """A Python is enough for a function, for its requirements, and for its process to end."""

    @contained(image=engine.import_bare_python(), requirements=[lower])
    def look() -> tuple[bool, list[str], str]:
        import os

        import lower

        programs = [each for each in os.listdir("/usr/bin") if not each.startswith("python")]
        return os.path.exists("/bin/sh"), programs, lower.version

    assert look() == (False, [], "2.0")


def test_a_mark_that_keeps_installers_out_does_not_matter(
    contained: Any, engine: Any, lower: str, tmp_path: Path
):
    """
    Requirements go into no directory of the image, so that its Python may be managed by
    something else.
    """
    library = standard_library()
    marked = tmp_path / "root" / library.lstrip("/")
    marked.mkdir(parents=True)
    (marked / "EXTERNALLY-MANAGED").write_text(
        "[externally-managed]\nError=Use the system's.\n"
    )
    image = engine.derive(
        "localhost/tests/managed:1", engine.import_python(), folder=tmp_path / "root"
    )

    @contained(image=image, requirements=[lower])
    def look() -> tuple[bool, str]:
        import os

        import lower

        return os.path.exists(f"{library}/EXTERNALLY-MANAGED"), lower.version

    assert look() == (True, "2.0")


@pytest.mark.parametrize("platform", [None, "linux/arm64"])
def test_an_image_for_another_processor_is_an_error_without_an_emulator(
    contained: Any, engine: Any, lower: str, platform: str | None
):
    """The error names the platforms of the image and of the engine, and what to do."""
    if Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists() or os.uname().machine != "x86_64":
        pytest.skip("this machine runs programs of aarch64")
    image = engine.import_foreign()
    sentence = (
        rf"Image '{image}' is for linux/arm64: podman runs linux/amd64 on this machine, and "
        r"linux/arm64 with an emulator alone\. Install one, .*, or write platform='linux/amd64'"
    )

    @contained(image=image, platform=platform)
    def never() -> None: ...

    with pytest.raises(HostError, match=sentence):
        never()

    @contained(image=image, platform=platform, requirements=[lower])
    def nor_this() -> None: ...

    with pytest.raises(EnvironmentBuildError, match=sentence):
        nor_this()

    built = ContainerImage(f"FROM {image}\nRUN echo x > /x\n")

    @contained(image=built, platform="linux/arm64")
    def nor_that() -> None: ...

    with pytest.raises(
        EnvironmentBuildError, match=r"step 2 of 2, .*, failed: podman runs linux"
    ):
        nor_that()


def test_an_image_that_there_is_not_for_a_platform_is_an_error(contained: Any, engine: Any):
    """An image for another platform is not taken in its place, and the platform is named."""

    @contained(image=engine.import_tiny(), platform="linux/s390x")
    def never() -> None: ...

    with pytest.raises(
        EnvironmentBuildError, match=r"no image '.*tiny.*' for linux/s390x here"
    ):
        never()


def test_wheels_are_those_of_the_c_library_of_the_image(
    contained: Any, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The Python of an image says which it is: one that knows no glibc gets wheels for musl."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    machine = os.uname().machine
    for tag in (f"py3-none-manylinux_2_17_{machine}", f"py3-none-musllinux_1_2_{machine}"):
        write_wheel(wheels, "native", "1.0", tag=tag)
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    write_stand_in(tmp_path / "root", MUSL)
    musl = engine.derive(
        "localhost/tests/musl:1", engine.import_python(), folder=tmp_path / "root"
    )

    @contained(requirements=["native"])
    def tag() -> str:
        import native

        return str(native.tag)

    @contained(image=musl, requirements=["native"])
    def tag_of_musl() -> str:
        import native

        return str(native.tag)

    assert tag() == f"py3-none-manylinux_2_17_{machine}"
    assert tag_of_musl() == f"py3-none-musllinux_1_2_{machine}"
