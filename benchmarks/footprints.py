"""Footprints: the memory of a warm worker that has nothing to do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.calls import increment
from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure
from benchmarks.pinning import parent_of

_WAIT = "print(flush=True); input()"
_SOCKETS = f"import cloudpickle, socket; {_WAIT}"

_MEASURES = {
    "rss": ("resident", ("Rss",)),
    "pss": ("proportional", ("Pss",)),
    "uss": ("private", ("Private_Clean", "Private_Dirty")),
}


def memory(pid: int, measure: str) -> float:
    """Return bytes of the process *pid*, as the system counts them."""
    fields = _MEASURES[measure][1]
    total = 0
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in fields:
                total += int(rest.split()[0]) << 10
    return float(total)


def process_number() -> int:
    """Return the number of the process this runs in."""
    return os.getpid()


@contextmanager
def footprint_fal_core(measure: str, keeper: bool) -> Iterator[Measure]:
    """Measure a worker of kind ``current`` after some calls, or the keeper."""
    from fal_core import function

    isolated = function("current", host="local", max_concurrency=1, keep_alive=600)
    call, find = isolated(increment), isolated(process_number)
    for number in range(100):
        call(number)
    pid = find()
    assert pid != os.getpid()
    if keeper:
        pid = parent_of(pid)
    # It rests some time after its last call.
    time.sleep(1.5)
    yield lambda: memory(pid, measure)


@contextmanager
def footprint_python(measure: str, text: str) -> Iterator[Measure]:
    """Measure an interpreter that has run *text* and waits."""
    with subprocess.Popen(
        [sys.executable, "-I", "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield lambda: memory(process.pid, measure)
        process.kill()


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    return [_figure(measure) for measure in _MEASURES]


def _figure(measure: str) -> Figure:
    here = "benchmarks.footprints:footprint_"
    bare = Contestant(
        name="a bare interpreter",
        target=here + "python",
        settings={"measure": measure, "text": _WAIT},
        role="reference",
    )
    return Figure(
        name=f"memory-{measure}",
        title=f"{_MEASURES[measure][0]} memory of an idle warm worker",
        unit="MiB",
        note="kind current; the keeper, one for each client, is a line of its own",
        contestants=(
            Contestant(
                name=FAL_CORE,
                target=here + "fal_core",
                settings={"measure": measure, "keeper": False},
                role="fal-core",
            ),
            bare,
            Contestant(
                name="cloudpickle and sockets alone",
                target=here + "python",
                settings={"measure": measure, "text": _SOCKETS},
                role="reference",
            ),
            Contestant(
                name="fal-core's keeper",
                target=here + "fal_core",
                settings={"measure": measure, "keeper": True},
                role="reference",
            ),
        ),
        goals=(Goal(against=bare.name, factor=1.9),) if measure == "rss" else (),
        fresh=True,
    )
