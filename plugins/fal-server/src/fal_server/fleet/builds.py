"""Builds: the environments of users, and the one that the agents need beside them."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from fal_core.environments import Environment, LocalInterpreter
from fal_core.events import Log, LogSink
from fal_core.plugins import find_environment
from fal_server.limits import Limits

#: The packages that an agent needs beside those of the user: what opens the pickles of
#: released clients, and what those pickles import.
_AGENT_REQUIREMENTS = (
    "cloudpickle>=3.1",
    "dill>=0.3.7",
    "grpcio>=1.64",
    "isolate>=0.26",
    "isolate-proto>=0.34.2",
    "tblib>=3.1",
)


#: How many environments are built at once, and how many keys are asked for at once.
_AT_ONCE = 16
_KEYS_AT_ONCE = 4


class EnvironmentBuilds:
    """
    Builds environments in threads, and knows which ones this process has built.

    Arguments:
        most: How many an account has built at once. Further ones wait for those.
    """

    def __init__(self, most: int = Limits().most_builds) -> None:
        self._most = most
        #: For each account that builds what it may build at once.
        self._shares: weakref.WeakValueDictionary[str, asyncio.Semaphore] = (
            weakref.WeakValueDictionary()
        )
        self._prepared: dict[int, weakref.ref[Environment]] = {}
        self._threads = ThreadPoolExecutor(_AT_ONCE, "environment-build")
        self._key_threads = ThreadPoolExecutor(_KEYS_AT_ONCE, "environment-key")
        self._built: set[str] = set()
        self._lock = threading.Lock()
        self._agent_paths: dict[str, tuple[str, ...]] = {}

    async def prepare(self, environment: Environment, owner: str, log: LogSink) -> None:
        """
        Build *environment* and that of the agent for the account *owner*, unless that was done
        before: what was built keeps nobody waiting while the account builds others.

        Raises:
            FalCoreError: The environment cannot be built.
        """
        known = self._prepared.get(id(environment))
        if known is None or known() is not environment:
            make = partial(self._make, environment, log, threading.Event(), again=False)
            await self._build_for(owner, make)
            forget = partial(self._prepared.pop, id(environment), None)
            reference = weakref.ref(environment, lambda _: forget())
            self._prepared[id(environment)] = reference

    async def _build_for(self, owner: str, build: Callable[[], object]) -> None:
        """
        Run *build*, which builds for the account *owner*, in a thread, once the account has
        few other builds.
        """
        async with self._share(owner):
            await asyncio.get_running_loop().run_in_executor(self._threads, build)

    def _share(self, owner: str) -> asyncio.Semaphore:
        share = self._shares.get(owner)
        if share is None:
            share = self._shares[owner] = asyncio.Semaphore(self._most)
        return share

    async def build(
        self, environment: Environment, owner: str, *, again: bool = False
    ) -> AsyncGenerator[Log, None]:
        """
        Build *environment* and that of the agent for the account *owner*, and yield what the
        builder prints.

        The build is cancelled when the generator is closed.

        Arguments:
            again: Also where this process has built it before: it may be gone by now. One
                that is declared with ``force`` is built in any case.

        Raises:
            FalCoreError: The environment cannot be built.
        """
        loop = asyncio.get_running_loop()
        lines: asyncio.Queue[Log | None] = asyncio.Queue()
        begun, cancelled = threading.Event(), threading.Event()

        def log(line: Log) -> None:
            loop.call_soon_threadsafe(lines.put_nowait, line)

        def build() -> None:
            begun.set()
            is_forced = again or getattr(environment, "force", False)
            self._make(environment, log, cancelled, again=is_forced)

        def built(building: asyncio.Future[None]) -> None:
            # Once the generator is closed, nothing asks for the error.
            _ = building.cancelled() or building.exception()
            lines.put_nowait(None)

        building = asyncio.ensure_future(self._build_for(owner, build))
        building.add_done_callback(built)
        try:
            while (line := await lines.get()) is not None:
                yield line
            await building
        finally:
            cancelled.set()
            if not begun.is_set():
                building.cancel()

    async def key_of(self, environment: Environment) -> str:
        """
        Return the key of *environment*, for which an engine may have to be asked. One that
        does not answer keeps nobody waiting who asks for something else.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._key_threads, lambda: environment.key)

    def close(self) -> None:
        """Begin no more builds, and ask for no more keys."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._key_threads.shutdown(wait=False, cancel_futures=True)

    def _make(
        self,
        environment: Environment,
        log: LogSink,
        cancelled: threading.Event,
        *,
        again: bool,
    ) -> None:
        """Build *environment* as a runner has it, and what lies beside it."""
        whole = self.with_agent(environment)
        build = self._build if again else self.ensure
        build(whole, log, cancelled)
        self.agent_paths(environment)

    def ensure(
        self, environment: Environment, log: LogSink, cancelled: threading.Event
    ) -> None:
        """
        Build *environment* in this thread, unless this process has built it before.

        Its host builds it again where it is gone by now.

        Raises:
            FalCoreError: It cannot be built.
        """
        if environment.key not in self._built:
            self._build(environment, log, cancelled)

    def with_agent(
        self, environment: Environment, *, is_elsewhere: bool = False
    ) -> Environment:
        """
        Return *environment* as a runner has it: with the packages of the agent, unless these
        can lie beside it, see :meth:`agent_paths`.

        Arguments:
            is_elsewhere: Whether the runner is on another machine, where nothing of this
                server lies.
        """
        if _lies_beside(environment) and not is_elsewhere:
            return environment
        return environment.extend(_AGENT_REQUIREMENTS)

    def agent_paths(self, environment: Environment) -> tuple[str, ...]:
        """
        Return where the packages of the agent lie, for the Python of *environment*. Nowhere
        where the environment itself has them.
        """
        if not _lies_beside(environment):
            return ()
        version = getattr(environment, "python_version", None) or ""
        with self._lock:
            if version not in self._agent_paths:
                cls = find_environment("virtualenv")
                own = cls(  # type: ignore[call-arg]  # an option of this kind
                    requirements=_AGENT_REQUIREMENTS, python_version=version or None
                )
                found = own.build(lambda log: None, threading.Event())
                assert isinstance(found, LocalInterpreter)
                self._agent_paths[version] = (site_packages(found.executable),)
            return self._agent_paths[version]

    def _build(
        self, environment: Environment, log: LogSink, cancelled: threading.Event
    ) -> None:
        environment.build(log, cancelled)
        self._built.add(environment.key)


def _lies_beside(environment: Environment) -> bool:
    """Return whether a virtual environment of this machine fits the Python of *environment*."""
    return environment.kind in ("virtualenv", "current")


def site_packages(executable: str) -> str:
    """Return the directory of the packages in the virtual environment of *executable*."""
    root = Path(os.path.abspath(executable)).parent.parent
    (found,) = root.glob("lib/python3*/site-packages")
    return str(found)
