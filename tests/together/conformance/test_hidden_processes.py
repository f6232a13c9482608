"""The conformance suite on a host whose workers have a pid namespace each."""

from __future__ import annotations

import subprocess
from typing import Any, ClassVar

import attrs
import pytest
from mutants.workers import LeaksWorkers
from mutants.wrappers import Selects
from runner import run_laws

from fal_core.environments import Command
from fal_core.hosts import Capabilities
from fal_core.pools import Start, WorkerHost
from fal_core.workers import ARGUMENTS, Worker

ALONE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")

#: Laws that look for the processes of earlier calls.
LOOKING = {
    "test_an_idle_worker_ends",
    "test_children_of_a_cancelled_call_end",
    "test_children_of_a_lost_worker_end",
}

#: Laws that compare the processes of calls.
COMPARING = {
    "test_a_warm_worker_is_used_again",
    "test_the_setup_runs_once_in_each_worker",
    "test_a_function_of_another_place_is_called_at_home",
}


@attrs.define(eq=False, slots=False)
class Namespaces(WorkerHost[..., Any]):
    """Starts each worker in a pid namespace of its own."""

    name: ClassVar[str] = "namespaces"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None, keep_alive=True, options=frozenset({"keep_alive", "max_concurrency"})
    )

    def begin(self, start: Start) -> Worker:
        command = start.build().command(ARGUMENTS)
        return Worker.start(Command(argv=(*ALONE, *command.argv), variables=command.variables))


@pytest.fixture(autouse=True)
def _namespaces_can_be_made() -> None:
    try:
        subprocess.run([*ALONE, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"No pid namespace can be made here: {error}")


def test_laws_of_processes_are_not_broken_by_namespaces() -> None:
    """
    Laws that compare processes hold. One that looks for processes may be skipped, if they are
    hidden; it holds where their namespace is gone, and its number was given again.
    """
    host = Namespaces()
    try:
        found = run_laws(host, sorted(LOOKING | COMPARING))
    finally:
        host.close()
    assert {law for law in COMPARING if found[law] != "passed"} == set()
    assert {law for law in LOOKING if found[law] not in ("skipped", "passed")} == set()


def test_hidden_process_is_not_taken_for_one_that_has_ended() -> None:
    """Where a worker never ends, and no other call sees it, the law is skipped: not kept."""
    host = Selects(LeaksWorkers(Namespaces()), Namespaces(), frozenset({"tell"}))
    try:
        found = run_laws(host, ["test_an_idle_worker_ends"])
    finally:
        host.close()
    assert found == {"test_an_idle_worker_ends": "skipped"}
