"""Functions to explain, hosts to explain them on, and what the program says of both."""

from __future__ import annotations

import json
from typing import Any

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


threading = __import__("threading")
lock, thread = threading.Lock(), threading.current_thread()


@function("current")
def refers_to_a_lock() -> bool:
    return lock.locked()


@function("current")
def refers_to_a_thread() -> bool:
    return thread.is_alive()
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
    )

    def launch(self, call, sink):
        raise AssertionError("nothing is launched")


@attrs.define(eq=False, slots=False)
class Wordy(Little):
    name: ClassVar[str] = "wordy"
    options: ClassVar = WordyOptions
    capabilities: ClassVar[Capabilities] = Capabilities(kinds=None, stream=True)


@hookimpl
def fal_register_hosts():
    return [Little, Wordy]
"""


def explain(program: Any, name: str, *arguments: str) -> list[dict[str, Any]]:
    """Return the explanations that the program prints for a function."""
    done = program("explain", f"functions.py::{name}", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def uses(explanation: dict[str, Any]) -> dict[str, str]:
    """Return the use of each option."""
    return {option["name"]: option["use"] for option in explanation["options"]}
