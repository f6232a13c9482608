"""Failures: who waits for a build that fails takes its error, and nobody else does."""

from __future__ import annotations

import os
import pickle
import stat
import threading
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest

from fal_core.caches import cache_root
from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core.events import Log
from fal_core.stores import Build, DirectoryStore
from fal_core.stores.failures import Failures

if TYPE_CHECKING:
    from conftest import Start

ERROR = EnvironmentBuildError("thing", "No such thing.", "thing>2", ("one", "two"), ("two",))

WAITERS = """
    import pickle
    from pathlib import Path
    from fal_core.errors import EnvironmentBuildError

    folder, count = Path(sys.argv[1]), int(sys.argv[2])

    def mark(name):
        with open(folder / name, "a") as stream:
            stream.write("x")

    def fail(opened):
        mark("builds")
        while (folder / "waiting").stat().st_size < count - 1:
            if opened.cancelled.wait(0.01):
                return
        told = ("one", "two"), ("two",)
        raise EnvironmentBuildError("thing", "No such thing.", "thing>2", *told)

    (folder / "waiting").touch()
    children = []
    for _ in range(count):
        child = os.fork()
        if child:
            children.append(child)
            continue
        try:
            store.find_or_build(
                "one", fail, log=lambda line: mark("waiting"), cancelled=threading.Event()
            )
        except EnvironmentBuildError as error:
            (folder / f"error-{os.getpid()}").write_bytes(pickle.dumps(error))
        os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    print("done", flush=True)
"""


@pytest.mark.faults
def test_many_waiters_of_a_failing_build_cause_one_build(start: Start, tmp_path: Path) -> None:
    """
    Of 32 processes that need what cannot be built, one tries, and all raise its error, with
    its facts.
    """
    process = start(WAITERS, str(tmp_path), "32")
    assert process.communicate(timeout=120)[0] == "done\n"
    assert (tmp_path / "builds").read_text() == "x"
    errors = [pickle.loads(path.read_bytes()) for path in tmp_path.glob("error-*")]
    assert len(errors) == 32
    assert {each.args for each in errors} == {ERROR.args}


class Neighbours:
    """A build that fails as soon as another call waits for it."""

    def __init__(self, store: DirectoryStore) -> None:
        self._store = store
        self._began, self._go_on = Event(), Event()

    def has_built(
        self, *, first: object = None, second: object = None, error: Exception = ERROR
    ) -> bool:
        """
        Return whether the call that waits, on the terms *second*, has built for itself.

        Arguments:
            first: The terms of the build that it waits for.

            error: What that build raises.
        """
        building = threading.Thread(target=self._fail, args=(first, error))
        building.start()
        assert self._began.wait(60)
        built: list[str] = []

        def fail(build: Build) -> None:
            built.append(build.key)
            raise EnvironmentBuildError("thing", "Built anew.")

        def hear(line: Log) -> None:
            self._go_on.set()

        with pytest.raises(EnvironmentBuildError) as caught:
            self._store.find_or_build("one", fail, log=hear, cancelled=Event(), terms=second)
        building.join(60)
        assert built or caught.value.args == error.args
        return bool(built)

    def _fail(self, terms: object, error: Exception) -> None:
        def fail(build: Build) -> None:
            self._began.set()
            assert self._go_on.wait(60)
            raise error

        with pytest.raises(Exception, match="thing"):
            self._store.find_or_build("one", fail, log=print, cancelled=Event(), terms=terms)


@pytest.fixture
def neighbours(store: DirectoryStore) -> Neighbours:
    return Neighbours(store)


def failure_of(store: DirectoryStore) -> Path:
    """Return the file with the error of the last build of "one"."""
    return Path(f"{store.lock_path('one')}.failure")


def test_a_later_call_builds_anew(neighbours: Neighbours, store: DirectoryStore) -> None:
    """
    An error goes to those who waited; a call that comes later builds, and its success removes
    the error.
    """
    assert not neighbours.has_built()
    assert stat.S_IMODE(failure_of(store).stat().st_mode) == 0o600
    built = store.find_or_build("one", lambda build: None, log=print, cancelled=Event())
    assert os.path.isdir(built)
    assert not failure_of(store).exists()


def test_equal_terms_share_an_error(neighbours: Neighbours) -> None:
    """Who waits with the same credentials takes the error."""
    assert not neighbours.has_built(first=("user", "pa55word"), second=("user", "pa55word"))


def test_other_terms_are_tried(neighbours: Neighbours, store: DirectoryStore) -> None:
    """
    Who waits with other credentials than the build that failed tries for itself, and the
    credentials are not written down.
    """
    assert neighbours.has_built(first=("user", "pa55word"), second=("user", "wordpa55"))
    written = failure_of(store).read_text()
    assert "pa55" not in written


def test_other_variables_are_other_terms(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Variables of the environment may hold credentials, so an error counts for the same ones
    alone, but for those that differ between the processes of one program.
    """
    store.make_directories()
    lock = store.lock_path("one")
    monkeypatch.setenv("UV_INDEX_PASSWORD", "first")
    waiting = Failures(lock)
    Failures(lock).keep(ERROR)
    monkeypatch.setenv("UV_INDEX_PASSWORD", "second")
    waiting.raise_new()
    Failures(lock).keep(ERROR)
    monkeypatch.setenv("FAL_WORKER", "3")
    with pytest.raises(EnvironmentBuildError):
        waiting.raise_new()


@pytest.mark.parametrize("error", [LookupError("no thing"), Cancelled("no thing")])
def test_only_errors_of_builds_are_shared(neighbours: Neighbours, error: Exception) -> None:
    """A fault of the process that builds, or its cancellation, is no matter of those who wait."""
    assert neighbours.has_built(error=error)


@pytest.mark.parametrize(
    "harm", ["readable", "a link", "another secret", "cut off", "not ours"]
)
def test_only_what_this_user_has_left_is_taken(
    store: DirectoryStore, tmp_path: Path, harm: str
) -> None:
    """An error that others could have written, or that is not whole, is not taken."""
    store.make_directories()
    waiting = Failures(store.lock_path("one"))
    Failures(store.lock_path("one")).keep(ERROR)
    failure, secret = failure_of(store), Path(cache_root(), "failures.secret")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    if harm == "readable":
        failure.chmod(0o644)
    elif harm == "a link":
        failure.rename(tmp_path / "elsewhere")
        failure.symlink_to(tmp_path / "elsewhere")
    elif harm == "another secret":
        secret.write_bytes(bytes(32))
    elif harm == "cut off":
        failure.write_bytes(failure.read_bytes()[:-10])
    else:
        failure.write_text("[]")
    waiting.raise_new()


def test_a_long_error_is_cut(store: DirectoryStore) -> None:
    """What is left of an error is small, however long it is."""
    store.make_directories()
    waiting = Failures(store.lock_path("one"))
    lines = tuple(f"{number} {'é' * 9000}" for number in range(100))
    Failures(store.lock_path("one")).keep(
        EnvironmentBuildError("thing", "é" * 9000, None, lines)
    )
    assert failure_of(store).stat().st_size < 65_536
    with pytest.raises(EnvironmentBuildError) as caught:
        waiting.raise_new()
    assert caught.value.reason == f"{'é' * 8192}…"


def test_errors_are_leftovers(store: DirectoryStore) -> None:
    """The errors of builds that nobody waits for go with the leftovers."""
    store.make_directories()
    Failures(store.lock_path("one")).keep(ERROR)
    store.leftovers(dry_run=True)
    assert failure_of(store).exists()
    with store.building("one", log=print, cancelled=Event()):
        store.leftovers(dry_run=False)
        assert failure_of(store).exists()
    Failures(store.lock_path("one")).keep(ERROR)
    store.leftovers(dry_run=False)
    assert not failure_of(store).exists()
