"""What a notebook shows, in a real kernel."""

from __future__ import annotations

import queue
import re
import textwrap
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fal_core.sinks.notebooks import in_notebook

PATIENCE = 240

#: Seconds without a message after which a cell is sent once more.
NUDGE = 10

DECLARED = """
from fal_core import function
from fal_testing import InProcessHost

@function("current", host=InProcessHost(), keep_alive=7)
def double(x: int) -> int:
    return 2 * x
"""

BUILDING = """
import attrs
from fal_core.environments import CurrentEnvironment
from fal_core.events import Log, State
from fal_core.wrappers import WrapperHost
from fal_testing import InProcessHost

@attrs.define(eq=False, slots=False)
class Building(WrapperHost):
    name = "building"

    def launch(self, call, sink):
        sink(State("building"))
        sink(Log("fetching <parts>", "INFO", "BUILDER"))
        sink(State("running"))
        return self.inner.launch(call, sink)

assert double.on(Building(InProcessHost()), on_unsupported="ignore")(2) == 4
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    """A client of a kernel."""
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    found, client = manager.start_new_kernel(kernel_name="python3", startup_timeout=PATIENCE)
    client.execute_interactive(textwrap.dedent(DECLARED), timeout=PATIENCE)
    yield client
    client.stop_channels()
    found.shutdown_kernel(now=True)


def run_cell(kernel: Any, code: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the messages that a cell has sent until it has ended: their kinds and contents."""
    # An error would have the kernel drop the next cell, if that comes soon.
    asked = kernel.execute(code, stop_on_error=False)
    sent = []
    until = time.monotonic() + PATIENCE
    while True:
        try:
            message = kernel.get_iopub_msg(timeout=NUDGE)
        except queue.Empty:
            assert time.monotonic() < until
            # Beside a load a kernel of Python 3.10 may lose a cell among its threads.
            asked, sent = kernel.execute(code, stop_on_error=False), []
            continue
        if message["parent_header"].get("msg_id") != asked:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "status" and content["execution_state"] == "idle":
            return sent
        sent.append((kind, content))


def test_only_a_kernel_is_a_notebook() -> None:
    """A program has no cells, also where IPython is imported."""
    assert not in_notebook()


def test_function_is_shown_as_a_table(kernel: Any) -> None:
    """A cell that ends with a function shows its kind, its host and its options."""
    sent = dict(run_cell(kernel, "double"))
    html = sent["execute_result"]["data"]["text/html"]
    assert "isolated function double (current) on in-process" in html
    assert "keep_alive" in html


def test_progress_of_a_map_is_one_output(kernel: Any) -> None:
    """The output of the cell has a bar, which is updated in place."""
    sent = run_cell(kernel, "assert sum(double.map(range(3), progress=True)) == 6")
    shown = [content for kind, content in sent if kind.endswith("display_data")]
    assert [kind for kind, _ in sent if kind == "display_data"] == ["display_data"]
    assert len({content["transient"]["display_id"] for content in shown}) == 1
    assert '<progress value="3" max="3">' in shown[-1]["data"]["text/html"]
    assert shown[-1]["data"]["text/plain"].startswith("double: 3 of 3 in ")
    assert not [content for kind, content in sent if kind == "error"]


def test_building_is_one_output_with_its_time(kernel: Any) -> None:
    """While an environment is built the latest line is shown, and at the end how long it took."""
    sent = run_cell(kernel, BUILDING)
    assert not [content for kind, content in sent if kind in ("error", "stream")]
    shown = [content["data"] for kind, content in sent if kind.endswith("display_data")]
    assert shown[0]["text/plain"] == "Building the environment"
    assert shown[-1]["text/plain"].startswith("Built the environment in ")


FAILING = """
@function("current", host=InProcessHost())
def fail(x: int) -> float:
    return 1 / x
"""


@pytest.mark.parametrize(
    "cell", ["fail(0)", "fail.submit(0).result()", "list(fail.map([0]))", "await fail.aio(0)"]
)
def test_an_error_of_a_function_has_no_frame_of_ours(kernel: Any, cell: str) -> None:
    """
    The traceback of a cell has its own line and the remote traceback, which the error keeps in
    a pickle that needs nothing of ours.
    """
    run_cell(kernel, FAILING)
    [shown] = [content for kind, content in run_cell(kernel, cell) if kind == "error"]
    text = re.sub(r"\033\[[0-9;]*m", "", "\n".join(shown["traceback"]))
    assert shown["ename"] == "ZeroDivisionError"
    assert cell in text
    assert "return 1 / x" in text
    assert not re.findall(r"^File .*fal_core/.*", text, re.M), text
    check = "import pickle, sys; copied = pickle.loads(pickle.dumps(sys.last_value))"
    sent = run_cell(kernel, f"{check}; ''.join(copied._render_traceback_())")
    assert "ZeroDivisionError: division by zero" in str(dict(sent).get("execute_result")), sent
