"""``fal-core hosts``, and hosts that are missing or claimed twice."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

PLACED = """
import attrs
from fal_core import Capabilities, Host, hookimpl

fal_core_api = 1

@attrs.define(eq=False, slots=False)
class Placed(Host):
    name = "placed"
    capabilities = Capabilities()
    def launch(self, call, sink): ...

@hookimpl
def fal_register_hosts():
    return [Placed]
"""


#: All that the core needs.
NEEDED = (
    *("fal_core", "fal_core_worker", "attr", "attrs", "cattr", "cattrs", "click"),
    *("cloudpickle", "exceptiongroup", "pluggy", "typing_extensions"),
)


def test_hosts_of_one_name_are_one_sentence(command_line: Any) -> None:
    """
    Running a function whose host two plugins provide is an error of one sentence, without a
    traceback.
    """
    for name in ("placed", "placed_too"):
        command_line.install(name, PLACED)
    command_line.write(
        "task.py",
        """
        from fal_core import function

        @function("current", host="placed")
        def give() -> int:
            return 1
        """,
    )
    done = command_line("run", "task.py::give")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: task.py:4: Plugin 'placed ")
    assert len(done.stderr.splitlines()) == 1


def test_check_names_the_extra_that_it_needs(command_line: Any) -> None:
    """Without fal-testing the laws cannot be run, and one sentence says how to install it."""
    command_line.install("placed", PLACED)
    for spec in filter(None, map(find_spec, NEEDED)):
        assert spec.origin is not None
        source = Path(spec.origin)
        source = source.parent if source.name == "__init__.py" else source
        (command_line.folder / "site" / source.name).symlink_to(source)
    # -S leaves out what is installed, and so fal-testing.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "fal_core.cli", "hosts", "check", "placed"],
        env=command_line.variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: The conformance laws are those of fal-testing, which is not installed. Run "
        "`pip install 'fal-core[testing]'`, or `pip install -e '.[testing]'` in a clone.\n"
    )


def test_unknown_hosts_are_named_with_what_there_is(command_line: Any) -> None:
    """A host that is not installed is an error in one sentence, with exit code 1."""
    for arguments in (["hosts", "describe", "mars"], ["hosts", "check", "mars"]):
        done = command_line(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: No host is called 'mars'. Installed: ")
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(find_spec("fal_host_local") is None, reason="the local host is missing")
def test_hosts_are_listed(explaining: Any) -> None:
    """Each installed host is listed with the first sentence of its documentation."""
    listed = json.loads(explaining("hosts", "list", "--json").stdout)
    summaries = {each["name"]: each["summary"] for each in listed}
    assert summaries["little"] == "A host that can do little"
    assert set(summaries) == {"little", "local", "wordy"}
    assert "little  A host that can do little\n" in explaining("hosts", "list").stdout


def test_host_is_described(explaining: Any) -> None:
    """A description has the capabilities, and says of each option whether it is used."""
    told = json.loads(explaining("hosts", "describe", "wordy", "--json").stdout)
    assert told["capabilities"]["detach"] is False
    options = {option["name"]: option for option in told["options"]}
    assert options["min_words"] == {
        "name": "min_words",
        "type": "an integer",
        "default": "1",
        "used": True,
    }
    assert not options["keep_alive"]["used"]
    assert "min_words" in explaining("hosts", "describe", "wordy").stdout
