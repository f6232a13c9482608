"""
Stand-ins for the libraries of vendors: machines with GPUs, where there are none.

A conftest of any distribution takes them with
``from vendor_libraries import gpus, nvml_library``, once this folder is on its path.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

SOURCE = Path(__file__).with_name("nvml.c")
VARIABLE = "FAL_CORE_STAND_IN_GPUS"
#: What NVML calls its errors.
NOT_SUPPORTED, LOST, MISMATCH, NOT_FOUND_FUNCTION = 3, 15, 18, 13


@attrs.frozen(kw_only=True)
class Slice:
    """A MIG slice as the stand-in has it. Sizes are bytes."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3 MIG 3g.40gb"
    memory: int = 40448 << 20
    used: int = 0
    processes: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class Gpu:
    """A GPU as the stand-in has it. Sizes are bytes."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    memory: int = 81559 << 20
    used: int = 0
    compute_capability: str = "9.0"
    processes: tuple[int, ...] = ()
    partitioned: bool = False
    slices: tuple[Slice, ...] = ()
    busy: int = 0


@attrs.define
class Gpus:
    """
    The GPUs that the stand-in tells of, here and in processes that are started from here.

    Attributes:
        path: The file in which they stand, read whenever NVML is initialised.

        library: The directory with the library.
    """

    path: Path
    library: Path

    def have(self, *gpus: Gpu) -> None:
        """Have the machine have *gpus*, and nothing fail."""
        self.path.write_text("".join(f"{line}\n" for gpu in gpus for line in _lines_of(gpu)))

    def fail(self, function: str, code: int, uuid: str = "*") -> None:
        """Have *function* of NVML fail, for the device of *uuid* or all of them."""
        with self.path.open("a") as file:
            file.write(f"fail|{function}|{code}|{uuid}\n")


def _lines_of(gpu: Gpu) -> Iterator[str]:
    yield _line("gpu", gpu, gpu.compute_capability)
    if gpu.partitioned:
        yield "partitioned"
    yield f"busy|{gpu.busy}"
    for each in gpu.slices:
        yield _line("mig", each)


def _line(kind: str, device: Gpu | Slice, *more: str) -> str:
    processes = " ".join(map(str, device.processes))
    told = (device.name, device.uuid, str(device.memory), str(device.used), *more, processes)
    return "|".join((kind, *told))


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a ``libnvidia-ml.so.1`` that is compiled here."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler, which makes the stand-in for NVIDIA's library")
    folder = tmp_path_factory.mktemp("nvml")
    name = "libnvidia-ml.so.1"
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]
    command += [f"-Wl,-soname,{name}", "-o", str(folder / name), str(SOURCE)]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture
def gpus(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """NVIDIA's driver on a machine without GPUs; the test says which there are."""
    # In this process the name finds what is loaded already; others search their path for it.
    ctypes.CDLL(str(nvml_library / "libnvidia-ml.so.1"))
    found = Gpus(tmp_path / "gpus.txt", nvml_library)
    found.have()
    monkeypatch.setenv(VARIABLE, str(found.path))
    path = os.environ.get("LD_LIBRARY_PATH")
    monkeypatch.setenv(
        "LD_LIBRARY_PATH", f"{nvml_library}:{path}" if path else str(nvml_library)
    )
    return found
