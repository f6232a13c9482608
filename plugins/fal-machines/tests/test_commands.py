"""The commands ``fal-core machines …``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from vendor_libraries import LOST, VARIABLE, Gpu, Gpus, Slice

from fal_core.errors import OptionError
from fal_core.hooks import hookimpl
from fal_core.machines import Device, count_cpus
from fal_core.plugins import registered
from fal_machines import detection, fal_register_commands
from fal_machines.catalogues import known_machines

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs ``fal-core machines …``."""

    @click.group()
    def cli() -> None:
        """Stand in for the command line of the core."""

    fal_register_commands(cli)
    monkeypatch.setattr(detection, "_told", set())
    return lambda *arguments: CliRunner().invoke(cli, ["machines", *arguments])


def json_of(result: Result) -> Any:
    return json.loads(result.stdout)


def test_list_shows_every_type_and_what_is_stated(run: Run) -> None:
    """Each machine type has a line, with a dash for what nobody states."""
    lines = run("list").output.splitlines()
    cells = {line.split()[0]: line.split() for line in lines}
    assert set(known_machines()) <= set(cells)
    assert cells["S"] == ["S", "1", "1", "GB", "0", "-", "-", "-"]
    assert cells["GPU-H100"][-5:] == ["1", "H100", "80", "GB", "-"]


def test_list_as_json_has_all_fields(run: Run) -> None:
    """JSON has sizes in bytes, the source of each type, and null for what nobody states."""
    told = {each["name"]: each for each in json_of(run("list", "--json"))}
    assert told["GPU-H100"]["gpu_memory"] == 80_000_000_000
    assert told["GPU-H100"]["compute_capability"] == "9.0"
    assert told["XS"]["source"].startswith("https://")
    assert told["XS"]["price"] is None


def test_describe_tells_what_is_missing_here(run: Run, gpus: Gpus) -> None:
    """A machine type says what it stands for, who states it, and what this machine lacks."""
    gpus.have(Gpu(uuid="GPU-a", name="NVIDIA A100-SXM4-40GB", memory=40 << 30))
    text = run("describe", "GPU-H100").output
    assert "https://docs.fal.ai/" in text
    assert "This machine does not fit. " in text
    assert "It has 0 of 1 such GPUs." in text
    told = json_of(run("describe", "GPU-H100", "--json"))
    assert (told["here"], told["devices"]) == (False, [])
    assert told["missing"][-1] == "It has 0 of 1 such GPUs."


def test_describe_tells_what_would_be_taken(run: Run, gpus: Gpus) -> None:
    """The GPUs are listed of which one would be taken: those that are large enough."""
    small = Slice(uuid="MIG-small", memory=10 << 30)
    gpus.have(Gpu(uuid="GPU-a"), Gpu(uuid="GPU-b", slices=(small,)), Gpu(uuid="GPU-c"))
    text = run("describe", "GPU-H100").output
    assert "Of these GPUs, 1 would be taken:" in text
    told = json_of(run("describe", "GPU-H100", "--json"))
    assert [each["uuid"] for each in told["devices"]] == ["GPU-a", "GPU-c"]


def test_describe_of_a_machine_that_is_here(run: Run) -> None:
    """A small machine type fits on this machine."""
    assert "This machine fits." in run("describe", "XS").output
    assert json_of(run("describe", "XS", "--json"))["missing"] == []


def test_describe_of_an_unknown_type_is_an_error(run: Run) -> None:
    """A type that nobody knows is the error that a declaration raises."""
    result = run("describe", "GPU-H1000")
    assert isinstance(result.exception, OptionError)


def test_detect_lists_devices_and_types(run: Run, gpus: Gpus) -> None:
    """Processors, memory and devices are shown, and the machine types that fit."""
    gpus.have(Gpu(uuid="GPU-a", slices=(Slice(uuid="MIG-1", used=1 << 30),)))
    text = run("detect").output
    assert f"{count_cpus()} CPUs, " in text
    lines = [line.split() for line in text.splitlines()]
    assert [(line[0], line[-1]) for line in lines if line and line[0] in ("gpu", "mig")] == [
        ("gpu", "GPU-a"),
        ("mig", "MIG-1"),
    ]
    assert "Machine types that fit here: XS" in text
    told = json_of(run("detect", "--json"))
    assert [each["parent"] for each in told["devices"]] == [None, "GPU-a"]
    assert told["faults"] == []
    assert "XS" in told["machines"]


def test_detect_without_a_driver_is_a_plain_answer(
    run: Run, gpus: Gpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No driver is a sentence, and no error."""
    monkeypatch.delenv(VARIABLE)
    result = run("detect")
    assert result.exit_code == 0
    sentence = "An NVIDIA driver is installed, but it is not loaded."
    assert f"{sentence}\n" in result.stdout
    assert json_of(run("detect", "--json"))["absent"] == sentence


def test_detect_without_gpus_is_a_plain_answer(run: Run, gpus: Gpus) -> None:
    """A driver without a GPU is a sentence too."""
    assert "No GPU was found.\n" in run("detect").stdout


def test_detect_lists_devices_of_other_plugins(run: Run, gpus: Gpus) -> None:
    """What plugins for other vendors find is listed too."""

    class Other:
        fal_core_api = 1

        @hookimpl
        def fal_discover_devices(self) -> list[Device]:
            return [Device(kind="npu", index=0, name="Other 1", uuid="NPU-1", memory=8 << 30)]

    gpus.have(Gpu(uuid="GPU-a"))
    with registered(Other()):
        told = json_of(run("detect", "--json"))
    assert [each["uuid"] for each in told["devices"]] == ["GPU-a", "NPU-1"]


@pytest.mark.faults
def test_detect_tells_what_fails(
    run: Run, gpus: Gpus, caplog: pytest.LogCaptureFixture
) -> None:
    """A GPU that is lost is an error on standard error, and once; the others are shown."""
    gpus.have(Gpu(uuid="GPU-a"), Gpu(uuid="GPU-b"))
    gpus.fail("nvmlDeviceGetMemoryInfo", LOST, "GPU-a")
    result = run("detect")
    assert result.exit_code == 1
    assert "GPU-b" in result.stdout
    assert result.stderr.startswith("Error: GPU 0 cannot be read and is not used: ")
    assert caplog.messages == []
    result = run("detect", "--json")
    assert result.exit_code == 1
    assert len(json_of(result)["faults"]) == 1
