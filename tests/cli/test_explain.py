"""``fal-core explain``: explanations for people, and errors."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from explained_functions import HOSTS, explain


def test_empty_requirements_are_shown_in_words(explaining: Any) -> None:
    """A list of no requirements is no pair of brackets to a person."""
    assert (
        "applies  without requirements\n" in explaining("explain", "functions.py::bare").stdout
    )


def test_all_hosts_are_asked(explaining: Any) -> None:
    """``--on all`` explains every installed host, for people and for machines."""
    hosts = [each["host"] for each in explain(explaining, "wordy", "--on", "all")]
    assert hosts == ["little", "local", "wordy"]
    done = explaining("explain", "functions.py::wordy", "--on", "all")
    assert "wordy on little: does not run\n  Host 'little' cannot run Python " in done.stdout
    assert "wordy on wordy: runs\n" in done.stdout
    assert "    applies  min_words = 3\n" in done.stdout


def test_all_functions_of_a_file_are_explained(explaining: Any) -> None:
    """Without a name, each function of the file is explained, by the name that it has there."""
    explaining.write(
        "several.py",
        """
        from fal_core import function


        @function("current")
        def plain() -> None: ...


        patient = plain.on(keep_alive=60)
        """,
    )
    done = explaining("explain", "several.py", "--on", "local")
    assert [line for line in done.stdout.splitlines() if line and line[0] != " "] == [
        "plain on local: runs",
        "patient on local: runs",
    ]
    done = explaining("explain", "several.py", "--on", "all", "--json")
    told = [(each["function"], each["host"]) for each in json.loads(done.stdout)]
    assert told[0] == ("plain", "little")
    assert ("patient", "wordy") in told


def test_package_that_travels_as_source_has_one_row(explaining: Any) -> None:
    """The modules of a package that travel as source are counted, and not listed each."""
    explaining.write("stall/__init__.py", "from . import goods, prices\n")
    explaining.write("stall/goods.py", "")
    explaining.write("stall/prices.py", "")
    explaining.write("alone.py", "")
    explaining.write(
        "selling.py",
        """
        import alone
        import stall
        from fal_core import function


        @function("current")
        def sell() -> None: ...
        """,
    )
    shown = explaining("explain", "selling.py::sell", "--on", "local").stdout.splitlines()
    why = "It is local, or installed in editable mode."
    assert [line.split()[1:] for line in shown if line.startswith("    source ")] == [
        ["alone", *why.split()],
        ["stall", "(3", "modules)", *why.split()],
    ]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_unknown_host_is_an_error(explaining: Any, form: tuple[str, ...]) -> None:
    """Explaining a function on a host that is not installed is an error."""
    done = explaining("explain", "functions.py::wordy", "--on", "mars", *form)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: No host is called 'mars'. Installed: ")


def test_plugins_that_provide_the_same_host_are_named(explaining: Any) -> None:
    """Listing hosts and explaining a function name the plugins that provide the same host."""
    told = "each provides the host 'wordy'. Uninstall one of them, or name one in"
    explaining.install("other_hosts", HOSTS.replace('"little"', '"large"'))
    listed = explaining("hosts", "list")
    assert "little" in listed.stdout
    assert "wordy" not in listed.stdout
    assert listed.stderr.startswith("Warning: Plugin 'more_hosts")
    assert told in listed.stderr
    explaining.write(
        "plain.py", "from fal_core import function\nplain = function('current')(len)\n"
    )
    done = explaining("explain", "plain.py::plain", "--on", "wordy")
    assert done.returncode == 1
    assert told in done.stderr
    explaining.variables["FAL_CORE_PLUGINS"] = "more_hosts, other_hosts"
    explaining.write("site/other_hosts.py", HOSTS)
    listed = explaining("hosts", "list")
    assert listed.stdout == ""
    assert told in listed.stderr


def test_machine_types_are_shown_with_what_they_stand_for(explaining: Any) -> None:
    """A function that names machine types shows them, for people and for machines."""
    explaining.write(
        "sized.py",
        """
        from fal_core import function


        @function("current", machine_type=["XL", "L"], num_gpus=1)
        def sized() -> None: ...
        """,
    )
    done = explaining("explain", "sized.py::sized", "--on", "little")
    _, _, section = done.stdout.partition("\n  machine\n")
    first, second = section.splitlines()[:2]
    assert first.split()[0] == "XL"
    assert first.endswith("1 GPU")
    assert second.split()[0] == "L"
    done = explaining("explain", "sized.py::sized", "--on", "little", "--json")
    [explanation] = json.loads(done.stdout)
    assert [each["name"] for each in explanation["machines"]] == ["XL", "L"]


def test_explanation_fits_a_terminal_of_80_columns(explaining: Any) -> None:
    """Reasons are broken between words, under one another."""
    code, sent = explaining.in_terminal("explain", "functions.py::wordy", "--on", "all")
    assert code == 0
    lines = re.sub(r"\033\[[0-9;]*m", "", sent).splitlines()
    first = lines.index("  options")
    assert max(len(line) for line in lines[first:] if line.startswith("    ")) <= 80
