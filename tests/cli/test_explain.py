"""
``fal-core explain`` and ``fal-core hosts``: explanations and descriptions of hosts.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

FUNCTIONS = """
import json
import sibling
from fal_core import function


@function("virtualenv", requirements=["six"], keep_alive=30, regions=["eu"], retries=2)
def ready(text: str) -> str:
    return sibling.shout(json.dumps(text))


@function("virtualenv", requirements=[])
def bare() -> None: ...


@function("current", min_words=3)
def wordy() -> None: ...


@function("current", on_unsupported="error", min_words=3)
def insisting() -> None: ...


@function("virtualenv", requirements=["https://user:secret@index.test/six.whl"])
def private() -> None: ...


@function("current")
def count():
    yield 1


@function("virtualenv", requirements=["six"], serve=True)
def served() -> str: ...


@function("current", exposed_port=8080)
def serves_itself() -> None: ...


lock = __import__("threading").Lock()


@function("current")
def holds_a_lock() -> bool:
    return lock.locked()
"""

#: A host that can do little, and one with options of its own.
HOSTS = """
from typing import ClassVar

import attrs
from fal_core import Capabilities, Host, HostOptions, hookimpl

fal_core_api = 1


@attrs.frozen(kw_only=True)
class WordyOptions(HostOptions):
    min_words: int = 1


@attrs.define(eq=False, slots=False)
class Little(Host):
    \"\"\"
    A host that can do little.
    \"\"\"

    name: ClassVar[str] = "little"
    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=frozenset({"current"}),
        python_versions=("2.7",),
        options=frozenset({"keep_alive"}),
        stream=False,
    )

    def launch(self, call, sink):
        raise AssertionError("nothing is launched")


@attrs.define(eq=False, slots=False)
class Wordy(Little):
    name: ClassVar[str] = "wordy"
    options: ClassVar = WordyOptions
    capabilities: ClassVar[Capabilities] = Capabilities(options=frozenset())


@hookimpl
def fal_register_hosts():
    return [Little, Wordy]
"""


@pytest.fixture
def program(command_line: Any) -> Any:
    """
    The program, beside a file of functions, with two more hosts.
    """
    command_line.write("functions.py", FUNCTIONS)
    command_line.write("sibling.py", "def shout(text): return text.upper()\n")
    command_line.install("more_hosts", HOSTS)
    # The hosts of plugins that may be installed as well are left out.
    command_line.variables["FAL_CORE_PLUGINS_DENY"] = "serverless"
    return command_line


def explain(program: Any, name: str, *arguments: str) -> list[dict[str, Any]]:
    """
    Return the explanations that the program prints for a function.
    """
    done = program("explain", f"functions.py::{name}", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def uses(explanation: dict[str, Any]) -> dict[str, str]:
    """
    Return the use of each option.
    """
    return {option["name"]: option["use"] for option in explanation["options"]}


def test_options_apply_are_kept_or_ignored(program: Any) -> None:
    """
    An option applies, is kept for an installed host, or is ignored by all of them.
    """
    (on_little,) = explain(program, "wordy", "--on", "little")
    assert uses(on_little) == {"kind": "applies", "min_words": "kept"}
    assert on_little["options"][1]["why"] == "for wordy."
    (on_wordy,) = explain(program, "wordy", "--on", "wordy")
    assert uses(on_wordy) == {"kind": "applies", "min_words": "applies"}
    (on_wordy,) = explain(program, "ready", "--on", "wordy")
    assert uses(on_wordy)["keep_alive"] == "kept"
    assert uses(on_wordy)["retries"] == uses(on_wordy)["requirements"] == "applies"


def test_option_that_no_host_acts_on_is_ignored(program: Any) -> None:
    """
    An option that is known, and that no installed host acts on, is said to be ignored.
    """
    program.variables["FAL_CORE_PLUGINS_DENY"] = "local,serverless"
    program.write(
        "alone.py",
        """
        from fal_core import function

        @function("current", host="little", regions=["eu"])
        def f(): ...
        """,
    )
    done = program("explain", "alone.py", "--json")
    assert done.returncode == 0, done.stderr
    assert uses(json.loads(done.stdout)[0]) == {"kind": "applies", "regions": "ignored"}


def test_explanation_says_how_each_module_travels(program: Any) -> None:
    """
    The explanation says of each module whether it travels by value, as source or by reference.
    """
    (explanation,) = explain(program, "ready")
    travels = {each["module"]: each["how"] for each in explanation["travels"]}
    assert travels == {"functions": "value", "sibling": "source", "json": "reference"}


def test_reasons_why_it_does_not_run(program: Any) -> None:
    """
    Each reason why a host would not run the function is a sentence.
    """
    (explanation,) = explain(program, "count", "--on", "little")
    assert not explanation["runs"]
    stream, python = sorted(explanation["reasons"], key=lambda reason: "Python" in reason)
    assert stream == "Host 'little' cannot stream what a generator yields. Return a list."
    assert python.endswith("It runs 2.7.")
    (explanation,) = explain(program, "ready", "--on", "little")
    assert (
        "Host 'little' cannot run kind 'virtualenv'. It runs current."
        in (explanation["reasons"])
    )
    (explanation,) = explain(program, "insisting", "--on", "local")
    assert any("'min_words'" in reason for reason in explanation["reasons"])
    (explanation,) = explain(program, "holds_a_lock")
    assert not explanation["runs"]
    assert "lock" in " ".join(explanation["reasons"])


def test_explanation_has_the_environment_for_serving(program: Any) -> None:
    """
    The explanation of a served function shows the environment that it is served in.
    """
    pytest.importorskip("fal_serve")
    (served,) = explain(program, "served")
    (plain,) = explain(program, "ready")
    assert served["runs"]
    assert uses(served)["serve"] == "applies"
    assert served["notes"][0].startswith("Serving adds to its environment: fastapi")
    assert "six" not in served["notes"][0]
    assert served["key"] != plain["key"]
    assert "Serving adds" not in str(plain["notes"])


def test_hosts_that_cannot_serve_say_so(program: Any) -> None:
    """
    A function is not served where nothing is; a port of its own is kept for other hosts.
    """
    (here,) = explain(program, "serves_itself")
    assert here["runs"]
    (little,) = explain(program, "served", "--on", "little")
    assert not little["runs"]
    assert "Host 'little' cannot serve functions." in little["reasons"]
    (little,) = explain(program, "serves_itself", "--on", "little")
    assert "serve" not in " ".join(little["reasons"])
    assert uses(little)["exposed_port"] == "kept"


def test_environment_is_built_once_it_was_used(program: Any) -> None:
    """
    The key names the environment, and the explanation says whether it is built.
    """
    (before,) = explain(program, "ready")
    assert (before["runs"], before["built"]) == (True, False)
    assert before["key"]
    done = program("run", "functions.py::ready", "hi")
    assert done.returncode == 0, done.stderr
    (after,) = explain(program, "ready")
    assert (after["key"], after["built"]) == (before["key"], True)


def test_empty_requirements_are_shown_in_words(program: Any) -> None:
    """
    A list of no requirements is no pair of brackets to a person.
    """
    assert "applies  without requirements\n" in program("explain", "functions.py::bare").stdout


def test_credentials_are_not_shown(program: Any) -> None:
    """
    Values that a plugin hides in its options are hidden here too.
    """
    done = program("explain", "functions.py::private")
    assert "index.test" in done.stdout
    assert "secret" not in done.stdout + done.stderr


def test_all_hosts_are_asked(program: Any) -> None:
    """
    ``--on all`` explains every installed host, for people and for machines.
    """
    hosts = [each["host"] for each in explain(program, "wordy", "--on", "all")]
    assert hosts == ["little", "local", "wordy"]
    done = program("explain", "functions.py::wordy", "--on", "all")
    assert "wordy on little: does not run\n  Host 'little' cannot run Python " in done.stdout
    assert "wordy on wordy: runs\n" in done.stdout
    assert "    applies  min_words = 3\n" in done.stdout


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_unknown_host_is_an_error(program: Any, form: tuple[str, ...]) -> None:
    """
    Explaining a function on a host that is not installed is an error.
    """
    done = program("explain", "functions.py::wordy", "--on", "mars", *form)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: No host is called 'mars'. Installed: ")


def test_plugins_that_provide_the_same_host_are_named(program: Any) -> None:
    """
    Listing hosts and explaining a function name the plugins that provide the same host.
    """
    told = "each provides the host 'wordy'. Uninstall one of them, or name one in"
    program.install("other_hosts", HOSTS.replace('"little"', '"large"'))
    listed = program("hosts", "list")
    assert "little" in listed.stdout
    assert "wordy" not in listed.stdout
    assert listed.stderr.startswith("Warning: Plugin 'more_hosts")
    assert told in listed.stderr
    program.write(
        "plain.py", "from fal_core import function\nplain = function('current')(len)\n"
    )
    done = program("explain", "plain.py::plain", "--on", "wordy")
    assert done.returncode == 1
    assert told in done.stderr
    program.variables["FAL_CORE_PLUGINS"] = "more_hosts, other_hosts"
    program.write("site/other_hosts.py", HOSTS)
    listed = program("hosts", "list")
    assert listed.stdout == ""
    assert told in listed.stderr


def test_hosts_are_listed(program: Any) -> None:
    """
    Each installed host is listed with the first sentence of its documentation.
    """
    listed = json.loads(program("hosts", "list", "--json").stdout)
    summaries = {each["name"]: each["summary"] for each in listed}
    assert summaries["little"] == "A host that can do little"
    assert set(summaries) == {"little", "local", "wordy"}
    assert "little  A host that can do little\n" in program("hosts", "list").stdout


def test_host_is_described(program: Any) -> None:
    """
    A description has the capabilities, and says of each option whether it is used.
    """
    told = json.loads(program("hosts", "describe", "wordy", "--json").stdout)
    assert told["capabilities"]["detach"] is False
    options = {option["name"]: option for option in told["options"]}
    assert options["min_words"] == {
        "name": "min_words",
        "type": "an integer",
        "default": "1",
        "used": True,
    }
    assert not options["keep_alive"]["used"]
    assert "min_words" in program("hosts", "describe", "wordy").stdout
