"""The benchmarks run, and report the right figures."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event

import pytest

ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT))

# They are no package that is installed: the path comes first.
from benchmarks.figures import (  # noqa: E402  # the path comes first
    BEST,
    FAL_CORE,
    Contestant,
    Figure,
    Goal,
    Measure,
    Result,
    Role,
)
from benchmarks.tables import render, summary  # noqa: E402  # the path comes first

sys.path.remove(str(ROOT))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmarks as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def result_of(**numbers: tuple[float, ...]) -> Result:
    """Return a result in which *numbers* were shown, by names with underscores for blanks."""
    samples = {name.replace("_", "-"): shown for name, shown in numbers.items()}
    roles: dict[str, Role] = {FAL_CORE: "fal-core", "floor": "reference"}
    figure = Figure(
        name="example",
        title="an example",
        unit="ms",
        contestants=tuple(
            Contestant(name=name, target="", role=roles.get(name, "peer")) for name in samples
        ),
        goals=(Goal(against=BEST, factor=0.5), Goal(against="floor", plus=0.002), Goal(plus=1)),
    )
    return Result(figure=figure, samples=samples)


@pytest.mark.skipif(
    importlib.util.find_spec("fal_host_local") is None, reason="needs the local host"
)
def test_a_figure_is_measured(tmp_path: Path):
    """One round of a figure has a number of each contestant, in the table and the file."""
    path = tmp_path / "figures.json"
    done = run(
        *("--quick", "--rounds", "1", "--only", "warm-call", "--no-peers"),
        *("--json", str(path)),
    )
    assert done.returncode == 0, done.stderr
    (figure,) = json.loads(path.read_text(encoding="utf-8"))
    assert figure["figure"] == "warm-call"
    assert set(figure["samples"]) == {FAL_CORE, "multiprocessing.Pipe, an echo"}
    assert all(len(samples) == 1 for samples in figure["samples"].values())
    assert all(0 < value < 60 for value in figure["medians"].values())
    assert figure["missing"]["ProcessPoolExecutor"] == "peers were left out"
    assert "warm-call" in done.stdout
    assert "µs" in done.stdout


def test_unknown_figure_is_refused():
    """A name that no figure has is an error that lists those there are."""
    done = run("--only", "warm-cal")
    assert done.returncode == 2
    assert "No figure is called 'warm-cal'." in done.stderr
    assert "warm-call" in done.stderr
    done = run("--only", "large-*", "--only", "larger-*")
    assert done.returncode == 2
    assert "No figure is called 'larger-*'." in done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen")
def test_failing_contestant_is_reported():
    """A contestant that cannot start takes no part, and the table has its error."""
    from benchmarks.contests import hold

    broken = Contestant(name="broken", target="benchmarks.calls:no_such_contestant")
    figure = Figure(name="example", title="an example", unit="s", contestants=(broken,))
    result = hold(figure, rounds=2)
    assert result.value("broken") is None
    assert "no_such_contestant" in result.missing["broken"]
    assert "broken took no part" in render(result)


@contextmanager
def stuck(folder: str) -> Iterator[Measure]:
    """Be a contestant that measures for ever, and has to tidy up."""
    try:
        yield Event().wait  # type: ignore[misc]  # it returns nothing
    finally:
        (Path(folder) / "tidied").touch()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen")
def test_contestant_that_takes_too_long_tidies_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    A contestant that does not answer in time is told to end, so that it ends what it has
    started, also where a shell has started the benchmarks aside.
    """
    from benchmarks import contests

    # It has started by then, as its first answer is waited for as long.
    monkeypatch.setattr(contests, "PATIENCE", 20.0)
    contestant = Contestant(
        name="stuck",
        target="tests.test_benchmarks:stuck",
        settings={"folder": str(tmp_path)},
        pinned=False,
    )
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        entry = contests.Entry(contestant)
    finally:
        signal.signal(signal.SIGINT, handler)
    monkeypatch.setattr(contests, "PATIENCE", 0.01)
    with pytest.raises(contests.ContestantFailed, match="no answer"):
        entry.measure()
    assert (tmp_path / "tidied").exists()


@contextmanager
def untidy() -> Iterator[Measure]:
    """Be a contestant that cannot end what it has started."""
    yield lambda: 1.0
    raise OSError("A runner does not end.")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen")
def test_contestant_that_cannot_tidy_up_is_told_of(capsys: pytest.CaptureFixture[str]):
    """The error of a contestant that may have left something is printed."""
    from benchmarks.contests import hold

    untidy = Contestant(name="untidy", target="tests.test_benchmarks:untidy", pinned=False)
    figure = Figure(name="example", title="an example", unit="s", contestants=(untidy,))
    assert hold(figure, rounds=1).samples == {"untidy": (1.0,)}
    told = capsys.readouterr().err
    assert told == "untidy may have left something: OSError: A runner does not end.\n"


def test_runners_of_replicas_end_with_them(monkeypatch: pytest.MonkeyPatch):
    """
    The runners of servers on one database are gone once these are, one that was killed among
    them.
    """
    for name in ("fal_server", "fal_serve", "fal_host_serverless"):
        pytest.importorskip(name)
    from benchmarks.databases import load_servers
    from benchmarks.planes import control_plane, deployed
    from benchmarks.replicas import replica_options
    from fal_host_local import LocalHost

    if (reason := load_servers().missing()) is not None:
        pytest.skip(reason)

    def runners() -> list[str]:
        owner = f"The server of {first.directory}"
        with closing(LocalHost()) as host:
            found = host.executions()
        return [each.reference for each in found if each.owner == owner and not each.ended]

    # What leads to the servers is put there.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with replica_options() as options, deployed(*options) as first:
        with control_plane(*options, is_another=True) as second:
            assert len(runners()) == 1
            os.kill(second.pid, signal.SIGKILL)
        assert len(runners()) == 1
    assert runners() == []


def test_copies_of_rows(tmp_path: Path):
    """The state of a large account is copies of one row, each with a key of its own."""
    from benchmarks.planes import copy_rows

    with closing(sqlite3.connect(tmp_path / "state.db")) as database:
        database.execute("CREATE TABLE things (id TEXT PRIMARY KEY, number INT, same TEXT)")
        database.execute("INSERT INTO things VALUES ('one', 7, 'x')")
        copy_rows(
            database,
            "things",
            3,
            id="id || '-' || copies.number",
            number="things.number + copies.number",
        )
        rows = database.execute("SELECT * FROM things ORDER BY number").fetchall()
    assert rows == [(f"one{more}", 7 + n, "x") for n, more in enumerate(("", "-1", "-2", "-3"))]


def test_goals_compare_medians():
    """A goal holds fal-core's median against its peer's, and a reference is no peer."""
    result = result_of(
        fal_core=(0.004, 0.005, 9.0), slow=(0.5,), quick=(0.011,), floor=(0.0025, 0.0025)
    )
    assert result.best_peer(at_least=False) == "quick"
    goals = result.as_json()["goals"]
    assert [goal["met"] for goal in goals] == [True, False, True]
    assert [goal["against"] for goal in goals] == ["quick", "floor", None]
    table = render(result)
    assert "0.45 \N{MULTIPLICATION SIGN}" in table
    assert "missed" in table
    assert summary([result]) == "2 goals met; 1 missed: example."


def test_goal_without_its_peer_is_open():
    """A goal whose peer took no part is neither met nor missed."""
    result = result_of(fal_core=(0.004,), floor=(0.001,))
    assert [goal["met"] for goal in result.as_json()["goals"]] == [None, False, True]
    assert "1 not measured" in summary([result])


def test_each_flood_has_a_figure():
    """Floods are measured by the program that sends them in tests, which knows their names."""
    from benchmarks import floods

    pytest.importorskip("hpack")
    program = "plugins/fal-server/tests/floods.py"
    spec = importlib.util.spec_from_file_location("floods_of_tests", ROOT / program)
    assert spec is not None
    assert spec.loader is not None
    sent = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sent)
    assert tuple(sent.FLOODS) == floods.NAMES
