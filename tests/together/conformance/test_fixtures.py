"""The fixtures of the conformance suite say why a law is skipped, and what one waited for."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import attrs
import pytest
from runner import run_laws

from fal_core.calls import Call
from fal_core.environments import Environment, Interpreter, LocalInterpreter
from fal_core.errors import OptionError
from fal_core.events import LogSink, Sink, State
from fal_core.hooks import hookimpl
from fal_core.hosts import Execution
from fal_core.plugins.installed import registered
from fal_host_local import LocalHost
from fal_testing.harness.promises import PromiseRecorder
from fal_testing.suite import GROUPS


@attrs.frozen(kw_only=True)
class Bare(Environment):
    """This Python, to which nothing can be added."""

    kind: ClassVar[str] = "bare"
    key: ClassVar[str] = "bare"  # there is one of them

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        return LocalInterpreter(sys.executable)

    def extend(self, requirements: Iterable[str]) -> Any:
        raise OptionError(f"Kind 'bare' takes no requirements: {', '.join(requirements)}.")


class BarePlugin:
    """A plugin with that kind of environment."""

    fal_core_api = 1

    @hookimpl
    def fal_register_environments(self) -> Iterable[type[Environment]]:
        return [Bare]


class BareHost(LocalHost):
    """A host that runs nothing else."""

    capabilities = attrs.evolve(LocalHost.capabilities, kinds=frozenset({"bare"}))


def test_nothing_is_served_in_a_kind_that_takes_no_requirements() -> None:
    """
    Laws of served functions are skipped where the server cannot be put into the environment,
    and others are not.
    """
    served, other = "test_a_served_function_answers_at_its_url", "test_a_result_comes_back"
    host = BareHost()
    try:
        with registered(BarePlugin()):
            assert run_laws(host, [served, other]) == {served: "skipped", other: "passed"}
    finally:
        host.close()


class Mute(LocalHost):
    """A host that begins calls, and never ends one."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        sink(State("starting"))
        return super().launch(call, lambda event: None)


LAWS = """
import pytest
from fal_testing.suite import *

@pytest.fixture(scope="session")
def host(request):
    return request.config.pluginmanager.get_plugin("law runner").subject

@pytest.fixture(scope="session")
def law_timeout():
    return 2.0
"""

NEEDS = "The law needs room for one call, and the host declares concurrency="

#: How a law of each way of calling says that a call has not ended.
TOLD = {
    "test_a_result_comes_back": (
        "Law 'test_a_result_comes_back' did not end within 4 s. It waited in "
        '`expect(answer(), expected, "What the function returned", LOOK)` (calls.py, line ',
        "). Of the call of 'answer' came: State('starting'). ",
    ),
    "test_lines_before_an_error_arrive": (
        "The law waited 2 s for the event Exited. Until then came: State('starting'). ",
        "",
    ),
    "test_a_spawned_call_raises_what_it_raised": (
        "The law waited 2 s for the result of a spawned call, which ",
        " Of the call of 'collapse' came: State('starting'). ",
    ),
}


@pytest.mark.parametrize("law", TOLD)
def test_a_law_that_waits_in_vain_says_for_what(law: str, tmp_path: Path) -> None:
    """It names what it waited for, what had come, and how many calls it needs at once."""
    path = tmp_path / f"{law}_on_mute.py"
    path.write_text(LAWS)
    host, recorder = Mute(), PromiseRecorder(GROUPS)
    try:
        run_laws(host, [law], path=path, plugins=[recorder])
    finally:
        host.close()
    [promise] = recorder.promises
    begin, middle = TOLD[law]
    assert promise.why.startswith(begin)
    assert f"{middle}{NEEDS}" in promise.why


class Unknown(LocalHost):
    """A host that no plugin provides."""

    name: ClassVar[str] = "unknown"


def test_a_law_that_another_process_does_not_find_its_host_for_names_the_fixtures(
    tmp_path: Path,
) -> None:
    """Where the program of a law does not find the host, the advice is how to tell it."""
    law = "test_submitted_calls_end_before_their_program"
    path = tmp_path / "laws_of_unknown.py"
    path.write_text(LAWS.replace("2.0", "30.0"))
    host, recorder = Unknown(), PromiseRecorder(GROUPS)
    try:
        run_laws(host, [law], path=path, plugins=[recorder])
    finally:
        host.close()
    [promise] = recorder.promises
    assert "No host is called 'unknown'" in promise.why
    assert "Define the fixture host_url" in promise.why
    assert "or host_program" in promise.why


def test_a_file_of_laws_tells_which_were_not_checked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """
    Before the last line of pytest is a warning of the laws that nothing is known of, but not
    of those that the host does not claim.
    """
    path = tmp_path / "laws_of_local.py"
    path.write_text(LAWS.replace("2.0", "30.0"))
    lost = "test_a_call_whose_place_is_lost_ends"
    claimless = [law for law in vars(GROUPS["groups"]) if law.startswith("test_")]
    host = LocalHost()
    try:
        ends = run_laws(host, [lost, *claimless], path=path)
    finally:
        host.close()
    assert (ends[lost], "skipped" in [ends[law] for law in claimless]) == ("skipped", True)
    [warning] = [line for line in capfd.readouterr().out.splitlines() if "Warning" in line]
    assert warning.endswith(f"nobody knows whether the host keeps them: {lost}.")
