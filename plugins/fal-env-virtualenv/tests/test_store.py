"""
The environments that are kept, and the commands that look after them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner, Result

from fal_core.environments import LocalInterpreter
from fal_core.errors import OptionError
from fal_env_virtualenv import Virtualenv, fal_register_commands, records, store

if TYPE_CHECKING:
    from conftest import Builder

Built = tuple[Virtualenv, LocalInterpreter]


def let_go(interpreter: LocalInterpreter) -> Path:
    """
    Forget that this process uses the environment, and return its directory.
    """
    path = os.path.dirname(os.path.dirname(interpreter.executable))
    records.release(path)
    return Path(path)


@pytest.fixture
def three(build: Builder) -> list[Built]:
    """
    Three environments that nobody uses, the oldest first.
    """
    built = []
    for age, name in ((300, "gamma"), (200, "alpha-one"), (100, "beta")):
        environment = Virtualenv(requirements=[name])
        interpreter = build(environment)
        let_go(interpreter)
        then = time.time() - age
        os.utime(records.record_path(environment.key), (then, then))
        built.append((environment, interpreter))
    return built


def test_entries_say_what_is_kept(three: list[Built]) -> None:
    """
    Each environment is listed with its declaration, the last used first.
    """
    listed = store.entries()
    assert [entry.key for entry in listed] == [
        environment.key for environment, _ in three[::-1]
    ]
    first = listed[0]
    assert first.requirements == (("beta",),)
    assert first.python_version == ".".join(map(str, sys.version_info[:3]))
    assert Path(first.path).name == first.digest
    assert first.size > 0
    assert 90 < time.time() - first.last_used < 200
    assert not first.in_use
    assert first.fault is None


def test_no_cache_is_no_entries(cache: Path) -> None:
    """
    Where nothing was built, nothing is listed, collected or made.
    """
    assert store.entries() == []
    assert store.collect(0).entries == ()
    assert not cache.exists()


def test_using_an_environment_makes_it_the_last_used(
    three: list[Built], build: Builder
) -> None:
    """
    Each build that finds an environment counts as use.
    """
    build(three[0][0])
    assert store.entries()[0].key == three[0][0].key
    assert store.entries()[0].in_use


def test_collection_removes_the_longest_unused(three: list[Built]) -> None:
    """
    The longest unused go first, until what remains fits.
    """
    sizes = {entry.key: entry.size for entry in store.entries()}
    oldest, middle, newest = (environment.key for environment, _ in three)
    limit = sizes[newest]
    planned = store.collect(limit, dry_run=True)
    assert [entry.key for entry in planned.entries] == [oldest, middle]
    assert len(store.entries()) == 3
    assert store.collect(limit) == planned
    assert [entry.key for entry in store.entries()] == [newest]
    assert planned.kept == limit
    assert not three[0][0].is_built()
    assert three[2][0].is_built()


def test_collection_spares_what_is_in_use(three: list[Built], build: Builder) -> None:
    """
    Neither what a process has taken is removed, nor what runs without it.
    """
    taken, running, free = three
    build(taken[0])
    process = subprocess.Popen(
        running[1].command(["-c", "import time; time.sleep(600)"]).argv, start_new_session=True
    )
    commands = Path(f"/proc/{process.pid}/cmdline")
    try:
        while running[1].executable not in commands.read_text():
            time.sleep(0.01)
        assert [entry.key for entry in store.collect(0).entries] == [free[0].key]
        assert taken[0].is_built()
        assert running[0].is_built()
    finally:
        process.kill()
        process.wait()
    let_go(taken[1])
    assert len(store.collect(0).entries) == 2


def test_collection_takes_leftovers(three: list[Built], cache: Path) -> None:
    """
    Unfinished builds, trash, damaged and unreferenced environments go as well.
    """
    damaged, forgotten, whole = three
    os.unlink(damaged[1].executable)
    os.unlink(records.record_path(forgotten[0].key))
    (cache / "building" / "key.1234").mkdir()
    (cache / "trash" / "1234").mkdir()
    (cache / "pythons.json").touch()
    removal = store.collect(1 << 40)
    assert [entry.key for entry in removal.entries] == [damaged[0].key]
    assert removal.freed > 0
    assert not Path(forgotten[1].executable).parent.exists()
    assert list((cache / "building").iterdir()) == list((cache / "trash").iterdir()) == []
    assert whole[0].is_built()
    assert (cache / "pythons.json").exists()


def test_collection_beside_builds_breaks_none(build: Builder) -> None:
    """
    Whoever builds gets an environment that is there, whatever is collected meanwhile.
    """
    stop = threading.Event()

    def collect() -> None:
        while not stop.wait(0.005):
            store.collect(0)

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for _ in range(10):
            interpreter = build(Virtualenv(requirements=["gamma"]))
            assert os.path.exists(interpreter.executable)
            let_go(interpreter)
    finally:
        stop.set()
        collector.join(60)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("lib/python*/site-packages/beta/__init__.py", "beta/__init__.py is gone"),
        ("bin/python", "interpreter"),
        (records.MARKER, "never finished"),
        ("lib/python*/site-packages/alpha_one*", "alpha_one-1.0.dist-info is gone"),
        ("lib/python*/site-packages/alpha_one-1.0.dist-info/RECORD", "RECORD is gone"),
    ],
)
def test_damage_is_found_and_repaired(build: Builder, damage: str, says: str) -> None:
    """
    Verifying names what is wrong; rebuilding puts it right, with the same pins.
    """
    environment = Virtualenv(requirements=["beta"])
    path = let_go(build(environment))
    entry = store.find_entry(environment.key[:10])
    assert store.verify(entry) == []
    for target in path.glob(damage):
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    problems = store.verify(entry)
    assert any(says in problem for problem in problems), problems
    rebuilt = store.rebuild(entry.key, lambda line: None, Event())
    assert rebuilt.path == entry.path
    assert store.verify(rebuilt) == []


def test_packages_that_do_not_fit_are_found(build: Builder) -> None:
    """
    Verifying asks uv whether the packages fit each other.
    """
    environment = Virtualenv(requirements=["beta"])
    path = let_go(build(environment))
    (metadata,) = path.glob("lib/python*/site-packages/beta-*.dist-info/METADATA")
    text = metadata.read_text()
    metadata.unlink()  # It is one file with that in uv's cache.
    metadata.write_text(text.replace("alpha-one<2", "alpha-one>=2"))
    problems = store.verify(store.find_entry(environment.key))
    assert any("alpha-one" in problem and "beta" in problem for problem in problems), problems


def test_unknown_key_lists_the_known_ones(three: list[Built]) -> None:
    """
    A key is found by its beginning; the error for another lists those there are.
    """
    assert store.find_entry(three[0][0].key[:12]).key == three[0][0].key
    with pytest.raises(OptionError, match=three[0][0].key[:12]):
        store.find_entry("nothing")
    with pytest.raises(OptionError, match="begins with ''"):
        store.find_entry("")


# -- Commands -----------------------------------------------------------------------


@pytest.fixture
def command(cache: Path) -> Callable[..., Result]:
    """
    Run ``fal-core env …``.
    """

    @click.group()
    def cli() -> None:
        """
        Stand in for the command line's frame.
        """

    fal_register_commands(cli)
    return lambda *arguments: CliRunner().invoke(cli, ["env", *arguments])


def test_list_prints_a_table(command: Callable[..., Result], three: list[Built]) -> None:
    """
    The table has a line for each environment, and JSON has all that is known.
    """
    lines = command("list").output.splitlines()
    assert lines[0].split()[:3] == ["KEY", "PYTHON", "SIZE"]
    assert [line.split()[0] for line in lines[1:]] == [
        environment.key[:12] for environment, _ in three[::-1]
    ]
    assert lines[1].split()[-2:] == ["ready", "beta"]
    listed = json.loads(command("list", "--json").output)
    assert [entry["requirements"] for entry in listed] == [
        [["beta"]],
        [["alpha-one"]],
        [["gamma"]],
    ]


def test_list_without_environments(command: Callable[..., Result]) -> None:
    """
    An empty cache is said in words, and is an empty list in JSON.
    """
    assert command("list").output == "No environment has been built yet.\n"
    assert json.loads(command("list", "--json").output) == []


def test_gc_keeps_to_the_size(command: Callable[..., Result], three: list[Built]) -> None:
    """
    A dry run says what a run does.
    """
    dry = command("gc", "--max-size", "0", "--dry-run")
    assert dry.output.count("Would remove") == 3
    assert len(store.entries()) == 3
    assert command("gc", "--max-size", "2GB").output.startswith("Freed 0 B")
    wet = command("gc", "--max-size", "0 kB", "--json")
    assert [entry["requirements"] for entry in json.loads(wet.output)["entries"]] == [
        [["gamma"]],
        [["alpha-one"]],
        [["beta"]],
    ]
    assert store.entries() == []


def test_gc_without_a_size_removes_what_is_of_no_use(
    command: Callable[..., Result], three: list[Built], cache: Path
) -> None:
    """
    Without a size only damaged environments, and what killed builds left, are removed.
    """
    left = cache / "building" / "left"
    left.mkdir(parents=True)
    (left / "file").write_text("left")
    os.unlink(three[1][1].executable)
    assert command("gc").exit_code == 0
    assert len(store.entries()) == 2
    assert not left.exists()


@pytest.mark.parametrize("size", ["", "much", "-1", "2GX", "5iB"])
def test_gc_refuses_what_is_no_size(command: Callable[..., Result], size: str) -> None:
    """
    A wrong argument is a usage error with exit code 2.
    """
    result = command("gc", "--max-size", size)
    assert result.exit_code == 2
    assert "500MB" in result.output


def test_verify_and_rebuild(command: Callable[..., Result], three: list[Built]) -> None:
    """
    Damage is exit code 1 and names the command that repairs it.
    """
    assert command("verify").exit_code == 0
    key = three[1][0].key
    os.unlink(three[1][1].executable)
    result = command("verify")
    assert result.exit_code == 1
    assert f"fal-core env rebuild {key[:12]}" in result.output
    assert result.output.count("ok") == 2
    assert json.loads(command("verify", "--json", key).output)[key] != []
    assert command("rebuild", key[:12]).exit_code == 0
    assert command("verify", key).exit_code == 0


def test_errors_are_one_sentence(
    command: Callable[..., Result], three: list[Built], build: Builder
) -> None:
    """
    An error is a sentence on the standard error, and exit code 1.
    """
    result = command("rebuild", "nothing")
    assert result.exit_code == 1
    assert result.output.startswith(
        "Error: No environment has a key that begins with 'nothing'."
    )
    build(three[0][0])
    result = command("rebuild", three[0][0].key)
    assert result.exit_code == 1
    assert "is in use" in result.output
