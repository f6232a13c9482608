"""
The laws on every host with every kind of environment: the table of the documentation.

One law for each capability and kind runs by default; FAL_CORE_FAULTS=all runs them all, on
every host.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from matrix_kinds import KINDS, declare_nothing
from matrix_places import PLACES
from matrix_runs import CAPABILITIES, EXCEPT, Matrix, offers
from matrix_table import read

from fal_core import function
from fal_core.errors import UnsupportedError
from fal_core.plugins import load_plugins
from fal_host_ray.testing import find_ray

EVERY = os.environ.get("FAL_CORE_FAULTS") == "all"

pytestmark = pytest.mark.faults

CELLS = [(host, kind) for host in PLACES for kind in KINDS]
OFFERED = [cell for cell in CELLS if read(*cell) is not None]
NOT_OFFERED = [cell for cell in CELLS if read(*cell) is None]

#: A way through all hosts that are here and all kinds.
HERE = [host for host in PLACES if host != "ray" or find_ray() is not None]
WAY = list(zip(HERE, itertools.cycle([*list(KINDS)[1:], next(iter(KINDS))]), strict=False))

#: What is tried where each call has a container of its own, if not all is.
FEW = {("serverless", "container"): {"calls"}}


def share(host: str, kind: str) -> list[str]:
    """
    Return the capabilities that are tried on *host* with *kind*: all, or its share of those
    that the page says yes of, so that each is tried on one host for each kind.
    """
    left_out = EXCEPT.get((host, kind), frozenset())
    if EVERY:
        return [name for name in CAPABILITIES if name not in left_out]
    found = []
    for number, name in enumerate(CAPABILITIES):
        able = [
            each
            for each, other in OFFERED
            if other == kind and says_yes(each, kind, name)
            if name in FEW.get((each, kind), CAPABILITIES)
        ]
        if able and able[(number + list(KINDS).index(kind)) % len(able)] == host:
            found.append(name)
    found += FEW.get((host, kind), set()) - {*found}
    return found


def says_yes(host: str, kind: str, name: str) -> bool:
    """Return whether the page says that a host offers a capability for a kind."""
    said = read(host, kind)
    return said is not None and said[name]


def test_every_installed_host_and_kind_is_in_the_matrix() -> None:
    """What the distributions of this repository register is tried here."""
    plugins = load_plugins()
    ours = {
        role: {name for name, cls in found.items() if cls.__module__.startswith("fal_")}
        for role, found in {"hosts": plugins.hosts, "kinds": plugins.environments}.items()
    }
    assert ours["hosts"] <= PLACES.keys()
    assert ours["kinds"] == KINDS.keys()


def test_what_is_missing_is_the_reason_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A host or a kind that cannot be made here is a reason to skip whenever it is asked for, and
    the others are made without it.
    """

    @contextmanager
    def miss(folder: Path) -> Iterator[Any]:
        (folder / "begun").mkdir()
        pytest.skip("There is no such thing.")
        yield

    monkeypatch.setattr("matrix_runs.KINDS", {"current": declare_nothing, "container": miss})
    monkeypatch.setattr("matrix_runs.PLACES", {"local": PLACES["local"], "ray": miss})
    with ExitStack() as stack:
        made = Matrix(tmp_path, stack)
        for cell in [("ray", "current"), ("local", "container")] * 2:
            with pytest.raises(pytest.skip.Exception, match="no such thing"):
                made.cell(*cell)
        assert made.cell("local", "current").place is made.place("local")


@pytest.mark.parametrize(("host", "kind"), OFFERED)
def test_a_host_keeps_the_laws_with_a_kind(matrix: Matrix, host: str, kind: str) -> None:
    """
    What the page says that a host offers for a kind is what its laws find, and no law that it
    claims is broken.
    """
    tried = share(host, kind)
    if not tried:
        pytest.skip("Other hosts have all of its share.")
    cell = matrix.cell(host, kind)
    whole = EVERY and (host, kind) not in EXCEPT
    promises = cell.run(None if whole else [CAPABILITIES[name] for name in tried])
    broken = [f"{each.law}: {each.why}" for each in promises if each.kept == "broken"]
    assert not broken, "\n".join(broken)
    said = read(host, kind)
    assert said is not None
    assert offers(promises) == {name: said[name] for name in tried}


@pytest.mark.parametrize(("host", "kind"), NOT_OFFERED)
def test_a_host_refuses_a_kind_that_it_does_not_offer(
    matrix: Matrix, host: str, kind: str
) -> None:
    """
    A call of that kind is an error that names the host and the kind, before anything is
    built.
    """
    cell = matrix.cell(host, kind)

    def never_run() -> None: ...

    with pytest.raises(UnsupportedError) as caught:
        function(kind, host=cell.place.host, **cell.options)(never_run)()
    assert repr(host) in str(caught.value)
    assert repr(kind) in str(caught.value)


def test_a_function_that_moves_is_the_same(matrix: Matrix) -> None:
    """
    A function that has moved through all hosts and kinds and back has its options as they were
    written, and its answer. By default each host and each kind is on its way once.
    """

    def add(first: int, second: int = 2) -> int:
        return first + second

    options: dict[str, Any] = {
        **{"machine_type": "S", "keep_alive": 5, "request_timeout": 60},
        **{"max_concurrency": 2, "requirements": []},
    }
    local = matrix.place("local").host
    first = function("virtualenv", host=local, on_unsupported="ignore", **options)(add)
    moved, answers = first, {}
    here = [cell for cell in CELLS if cell[0] in HERE]
    way = [*here, *reversed(here)] if EVERY else WAY
    for host, kind in way:
        cell = matrix.cell(host, kind)
        moved = moved.on(cell.place.host, kind=kind, **cell.options)
        try:
            answers[host, kind] = moved(40)
        except UnsupportedError:
            assert (host, kind) in NOT_OFFERED
    assert answers == {cell: 42 for cell in OFFERED if cell in way}
    back = moved.on(local, kind="virtualenv")
    assert back(40) == 42
    assert back.options.host == first.options.host
    assert back.options.environment == first.options.environment
    assert back.options.gateway == first.options.gateway
