"""The output of functions that exit, or that close their standard streams."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from fal_core import WorkerLost, function
from fal_host_local import LocalHost

pytestmark = pytest.mark.faults


def inc(x: int) -> int:
    return x + 1


def test_lines_before_an_exit_arrive(capfd):
    """``os._exit`` loses none of the lines that were printed before, flushed or not."""

    @function("current")
    def leave() -> None:
        for number in range(1000):
            print("line", number)
        os._exit(1)

    with pytest.raises(WorkerLost):
        leave()

    assert capfd.readouterr().out.splitlines() == [f"line {number}" for number in range(1000)]


def test_closing_standard_streams_is_harmless():
    """A function may close its standard streams and descriptors 0, 1 and 2."""

    @function("current")
    def close() -> int:
        sys.stdout.close()
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        return 1

    assert close() == 1
    assert function("current")(inc)(1) == 2


SUBSETS = [tuple(n for n in (0, 1, 2) if bits >> n & 1) for bits in range(8)]


@pytest.mark.parametrize("way", ["print", "below", "silent"])
@pytest.mark.parametrize("closed", SUBSETS, ids=str)
def test_closed_descriptors_harm_no_call(
    capfd: pytest.CaptureFixture[str], closed: tuple[int, ...], way: str
):
    """
    A function may close any of the descriptors 0, 1 and 2 and go on, as it would in a
    program; the next one in its worker has all that it prints to.
    """

    def write(way: str) -> None:
        for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
            if way == "print":
                print("printed", file=stream, flush=True)
            elif way == "below":
                os.write(descriptor, b"written\n")

    @function("current", max_concurrency=1, host=LocalHost())
    def work(closed: tuple[int, ...], way: str) -> int:
        for descriptor in closed:
            os.close(descriptor)
        try:
            write(way)
        except OSError:
            assert way == "below"
        return os.getpid()

    try:
        pid = work(closed, way)
        capfd.readouterr()
        for _ in range(2):
            assert work((), way) == pid
            text = {"print": "printed\n", "below": "written\n", "silent": ""}[way]
            assert capfd.readouterr() == (text, text)
    finally:
        work.host.close()


def test_file_in_place_of_the_output_stays_the_functions_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """
    A file that a function puts at descriptor 1 gets what is printed there below Python;
    that is caught again once the function has closed it.
    """
    path = tmp_path / "mine"

    @function("current", max_concurrency=1, host=LocalHost())
    def work(path: str) -> float:
        with open(path, "w") as file:
            os.dup2(file.fileno(), 1)
        print("printed", flush=True)
        taken = []
        for _ in range(3):
            began = time.process_time()
            # Nothing uses the processor meanwhile.
            time.sleep(0.1)
            taken.append(time.process_time() - began)
        os.write(1, b"mine\n")
        os.close(1)
        # A machine that stands still may count that as time of who ran.
        return min(taken)

    @function("current", max_concurrency=1, host=work.host)
    def write() -> None:
        os.write(1, b"written\n")

    try:
        # Nothing of ours is kept busy by what was closed.
        assert work(str(path)) < 0.05
        write()
    finally:
        work.host.close()
    assert path.read_text() == "mine\n"
    assert capfd.readouterr().out == "printed\nwritten\n"


def test_much_output_arrives_whole():
    """100 MB of output all arrive, before the result."""

    @function("current")
    def shout() -> str:
        line = "x" * 999_999
        for _ in range(100):
            print(line)
        return "done"

    info = shout.spawn()
    assert info.future is not None
    assert info.future.result(timeout=60) == "done"
    size = 0
    while not info.logs.empty():
        size += len(info.logs.get().message)
    assert size == 99_999_900


def test_output_that_is_no_text_arrives():
    """Bytes that are not UTF-8 arrive as escapes, from Python and below it."""

    @function("current")
    def print_bytes() -> None:
        os.write(1, b"below \xff\n")
        sys.stdout.buffer.write(b"above \xfe\n")

    info = print_bytes.spawn()
    assert info.return_value is None
    lines = sorted(info.logs.get().message for _ in range(2))
    assert lines == [r"above \xfe", r"below \xff"]
